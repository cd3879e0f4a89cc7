"""What is read out of the buffers: router's queues, buffers inside units, an instruction that never ends."""

import pytest

from golden.model import Golden
from hwgen.build import Build
from hwgen.common.templates import templates
from hwgen.compiler import compile_model
from hwgen.machine.regmap import c_header
from sim.simulate import simulate
from tests.random_model import random_images
from tests.sim.isa import Isa, run
from tests.system.helpers import verilog
from tests.system.test_routing import description, hardware


@pytest.mark.parametrize(("buffer", "tensor"), [("COUNTS", "rows"), ("QUEUE", "tokens"), ("QUEUE", "weights")])
def test_queues_are_compared(build, monkeypatch, buffer, tensor):
    """One bit of the length, a token number or a gate weight, in the second entry of a queue, third job, image 1."""
    p = build.params
    probes = [probe for probe in build.compiled.probes["digit"] if probe.buffer == "QUEUE"]
    tensors = Golden(build.model).run(random_images(build.model, 3, 3), "digit", keep=True).tensors
    probe = next(probe for probe in probes if len(tensors[probe.tensor][1]) > 1)
    token = int(tensors[probe.tensor][1][1])

    def spoil(job, instruction, name, words):
        if (job, instruction, name) == (2, probe.instruction, buffer) and seen.append(name) is None:
            bit = {"rows": probe.expert * p.row_bits, "tokens": 0, "weights": p.row_bits}[tensor]
            if buffer == "COUNTS" or len(seen) == 1 + probe.expert:
                words[0 if buffer == "COUNTS" else 1, bit // 8] ^= 1 << bit % 8

    seen: list[str] = []
    report = run(build, monkeypatch, Isa(build, spoil))
    digit = report.tasks["digit"]
    assert (digit.wrong_outputs, digit.wrong_tensors, report.tasks["segment"].wrong_tensors) == (0, 1, 0)
    name = {"rows": probe.tensor.replace("tokens", "rows") + "[]", "tokens": f"{probe.tensor}[1]",
            "weights": f"layers.1.weights[{token}, "}[tensor]  # fmt: skip
    assert f"instruction {probe.instruction}: {name}" in digit.first_difference
    assert digit.first_difference.startswith("image 1, ") and "[ROUTE " in digit.first_difference
    assert len(seen) == (1 if buffer == "COUNTS" else len(probes))


@pytest.mark.parametrize(
    ("buffer", "tensor", "index", "bank", "word", "byte"),
    [("LOGITS", "layers.1.logits", (1, 4), 0, 3, 2), ("SCORE", "layers.1.score", (2, 13, 7), 4 + 1, 2, 7)],
)
def test_buffers_inside_units_are_compared(build, monkeypatch, buffer, tensor, index, bank, word, byte):
    """The sign of a logit: expert 4 of 5 is in a row's second word; of a score of the last of four query tiles, the
    second that is probed: in the buffer's other half. Scores of other heads than the last are overwritten too early."""
    head = index[0] if len(index) > 2 else None
    probe = next(p for p in build.compiled.probes["digit"] if (p.tensor, p.head) == (tensor, head))

    def spoil(job, instruction, name, words):
        if (job, instruction, name) == (2, probe.instruction, buffer) and seen.append(name) is None:
            if len(seen) == 1 + bank:
                words[word, byte] ^= 0x80

    seen: list[str] = []
    report = run(build, monkeypatch, Isa(build, spoil))
    digit = report.tasks["digit"]
    assert (digit.wrong_outputs, digit.wrong_tensors, report.tasks["segment"].wrong_tensors) == (0, 1, 0)
    assert digit.first_difference.startswith(
        f"image 1, task digit, instruction {probe.instruction}: {tensor}{list(index)} must be "
    )
    assert "(1 of " in digit.first_difference


@pytest.mark.parametrize("tensor", ["layers.0.norm1", "layers.0.hidden"])
def test_ninth_bits_are_compared(build, monkeypatch, tensor):
    """Of Y and H, whose elements lie across bytes: that of channel 2, two tokens into the first image."""
    probe = next(p for p in build.compiled.probes["digit"] if p.tensor == tensor and p.row_begin == 0)
    banks, bit = build.params.t, 9 * probe.channels[2] + 8

    def spoil(job, instruction, name, words):
        if (job, instruction, name) == (2, probe.instruction, probe.buffer) and seen.append(name) is None:
            if len(seen) == 1 + 2 % banks:
                words[0, bit // 8] ^= 1 << bit % 8

    seen: list[str] = []
    digit = run(build, monkeypatch, Isa(build, spoil)).tasks["digit"]
    assert digit.wrong_tensors == 1
    assert f"{tensor}[2, 2] must be " in digit.first_difference
    assert "(1 of " in digit.first_difference


def test_missing_instruction(build, monkeypatch):
    number = next(p.instruction for p in build.compiled.probes["digit"] if p.tensor == "layers.0.q")
    report = run(build, monkeypatch, Isa(build, skip=number))
    assert report.tasks["digit"].first_difference.startswith(
        f"image 0, task digit, instruction {number}: layers.0.q was never"
    )


def test_queues_of_the_verilog(tmp_path):
    """The whole path with Verilator, on hardware that the system tests build as well."""
    desc = description("softmax_topk")
    p = hardware(desc)
    for name, text in (("rtl/hwgen_accelerator.v", verilog(p)), ("include/hwgen_regs.h", c_header())):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "harness").symlink_to(templates() / "harness")
    build = Build(tmp_path, {}, p, desc, compile_model(desc, p))
    report = simulate(build, random_images(desc, 1, 4), tasks=["usual"])
    assert report.tasks["usual"].first_difference is None
    assert report.tasks["usual"].tensors == len(build.compiled.probes["usual"])
