"""`hwgen sim`'s bookkeeping, with the instruction-level model in the place of the Verilog."""

from dataclasses import dataclass

import numpy as np
import pytest

from hwgen import simulate as module
from hwgen.build import Build
from hwgen.compiler import auto_params, compile_model
from hwgen.errors import HwgenError
from hwgen.rtl.emit import TOP, debug_map
from hwgen.simulate import simulate
from sim.harness import JobResult
from sim.isa_model import Machine
from tests.random_model import random_description, random_images

TASKS = [
    {"name": "digit", "head": "mean", "outputs": 5, "norm": True},
    {"name": "segment", "head": "every_token", "outputs": 7, "norm": False},
]
LAYERS = [{"mlp": {"kind": "dense", "hidden": 19}},
          {"mlp": {"kind": "moe", "experts": 5, "hidden": 9, "top_k": 2, "gate": "softmax_topk"}}]  # fmt: skip


@dataclass
class Isa:
    """Has `Harness.run`; `spoil(job, instruction, buffer, words)` may change what is found in a buffer."""

    build: Build
    spoil: object = None
    skip: int | None = None  #: an instruction that never retires

    def run(self, jobs, *, program, weights, probes, counters, timing, trace, on_done):
        buffers = {f"{TOP}.{path}": (name, bank) for name, entry in debug_map(self.build.params).items()
                   for bank, path in enumerate(entry["paths"])}  # fmt: skip
        results = []
        for number, job in enumerate(jobs):
            machine = Machine(self.build.params, program, weights, job.input, job.output_bytes)
            dumps = {}

            def retire(index, machine=machine, dumps=dumps, job=job, number=number):
                ranges = probes.get(job.probes, {}).get(index, [])
                for probe in ranges if index != self.skip else []:
                    name, bank = buffers[probe.path]
                    words = getattr(machine, name.lower()).reshape(-1, *getattr(machine, name.lower()).shape[-2:])
                    data = words[bank, probe.first : probe.first + probe.count].copy().view(np.uint8)
                    if self.spoil is not None:
                        self.spoil(number, index, name, data)
                    dumps.setdefault(index, []).append(data)

            output = machine.run(job.entry, retire)
            results.append(JobResult(output=output, cycles=100 + number, counters={"stalls": number}, dumps=dumps))
            on_done(number + 1)
        return results


@pytest.fixture
def build(tmp_path):
    desc = random_description(7, tasks=TASKS, layers=LAYERS, class_token=False)
    p = auto_params([desc], 4, 8, 4)
    for name, text in (("rtl/hwgen_accelerator.v", ""), ("include/hwgen_regs.h", "")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return Build(tmp_path, {}, p, desc, compile_model(desc, p))


def run(build, monkeypatch, isa, count=3, **options):
    monkeypatch.setattr(module, "build_harness", lambda *args, **named: isa)
    monkeypatch.setattr(module, "CHUNK", 2)
    return simulate(build, random_images(build.model, count, 3), **options)


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


def test_missing_instruction(build, monkeypatch):
    report = run(build, monkeypatch, Isa(build, skip=4))
    assert report.tasks["digit"].first_difference.startswith("image 0, task digit, instruction 4: layers.0.q was never")
