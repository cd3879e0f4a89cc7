"""`hwgen sim`'s bookkeeping, with the instruction-level model in the place of the Verilog."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, compile_model
from sim import simulate as module
from tests.sim.isa import Isa, run


def test_identical(build, monkeypatch):
    seen = []
    report = run(build, monkeypatch, Isa(build), progress=lambda *args: seen.append(args),
                 labels={"digit": np.zeros((3, 1), int)})  # fmt: skip
    assert report.identical
    result = report.as_dict()
    digit = result["tasks"]["digit"]
    assert (digit["images"], digit["images_with_wrong_output"], digit["first_difference"]) == (3, 0, None)
    assert digit["tensors_compared"] > 60
    assert 0 <= digit["accuracy"] <= 1
    assert result["tasks"]["segment"]["accuracy"] is None
    # Jobs alternate between the tasks, in chunks of two images: job numbers 0, 2, 0 and 1, 3, 1.
    assert digit["cycles_per_image"] == {"mean": pytest.approx(302 / 3), "min": 100, "max": 102}
    assert result["tasks"]["segment"]["counters"] == {"stalls": pytest.approx(5 / 3)}
    assert digit["array_utilization"] == pytest.approx(digit["macs_per_image"] / (302 / 3 * build.params.macs))
    assert ("simulate", 6, 6) in seen


def test_batches(build, monkeypatch):
    """Three images in runs of two: the last run gets its image twice; a run's cycles are shared by two images."""
    p = auto_params([build.model], 4, 4, 4, batch=2)
    build = replace(build, params=p, compiled=compile_model(build.model, p, 2))
    tokens = build.model.model.tokens
    probe = next(probe for probe in build.compiled.probes["digit"] if probe.tensor == "layers.1.v")

    def spoil(job, instruction, buffer, words):
        if (job, instruction, buffer) == (0, probe.instruction, "V") and tokens % 4 == len(seen):
            words[tokens // 4 * probe.stride, 2] ^= 1
        seen.extend([buffer] * (instruction == probe.instruction and buffer == "V"))

    seen: list[str] = []
    report = run(build, monkeypatch, Isa(build, spoil))
    digit = report.tasks["digit"]
    assert (digit.wrong_outputs, digit.wrong_tensors, report.tasks["segment"].wrong_tensors) == (0, 2, 0)
    assert digit.first_difference.startswith(
        f"images 0 to 1, task digit, instruction {probe.instruction}: layers.1.v[{tokens}, 2] must be "
    )
    assert len(digit.outputs) == len(digit.cycles) == 3
    assert digit.as_dict(p)["cycles_per_image"] == {"mean": 50, "min": 50, "max": 50}
    assert report.tasks["segment"].counters == {"stalls": pytest.approx(1 / 2)}
    assert run(build, monkeypatch, Isa(build)).identical
    assert module._batches(5, 2) == [[0, 1], [2, 3], [4, 4]]


def test_one_task_without_probes(build, monkeypatch):
    report = run(build, monkeypatch, Isa(build), tasks=["segment"], probe=False)
    assert list(report.tasks) == ["segment"]
    assert report.identical
    assert report.tasks["segment"].tensors == 0


def test_unknown_task(build, monkeypatch):
    with pytest.raises(HwgenError, match=r"expected: digit or segment\n  found:    depth"):
        run(build, monkeypatch, Isa(build), tasks=["depth"])


def test_first_difference_is_located(build, monkeypatch):
    """One bit of the key buffer of the third job, image 1 of the first task."""
    probe = next(probe for probe in build.compiled.probes["digit"] if probe.tensor == "layers.1.k")

    def spoil(job, instruction, buffer, words):
        if (job, instruction, buffer) == (2, probe.instruction, "K"):
            words[0, 3] ^= 1

    report = run(build, monkeypatch, Isa(build, spoil))
    assert not report.identical
    digit = report.tasks["digit"]
    assert (digit.wrong_outputs, digit.wrong_tensors, report.tasks["segment"].wrong_tensors) == (0, 1, 0)
    assert digit.first_difference.startswith(
        f"image 1, task digit, instruction {probe.instruction}: layers.1.k[0, 3] must be "
    )
    assert "[MATMUL layers.1.k, program offset 0x" in digit.first_difference
