"""`hwgen sim`'s bookkeeping, with the instruction-level model in the place of the Verilog."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from golden.model import Golden
from hwgen.build import Build
from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, compile_model
from hwgen.machine.regmap import c_header
from hwgen.rtl.emit import TOP, debug_map, templates
from sim import simulate as module
from sim.harness import JobResult
from sim.isa_model import Machine
from sim.simulate import simulate
from tests.random_model import random_description, random_images
from tests.system.helpers import verilog
from tests.system.test_routing import description, hardware

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
                    words = self.words(machine, name)[bank, probe.first : probe.first + probe.count]
                    data = words.copy().view(np.uint8)[:, : -(-probe.width // 8)]
                    if self.spoil is not None:
                        self.spoil(number, index, name, data)
                    dumps.setdefault(index, []).append(data)

            output = machine.run(job.entry, retire)
            results.append(JobResult(output=output, cycles=100 + number, counters={"stalls": number}, dumps=dumps))
            on_done(number + 1)
        return results

    def words(self, machine, name):
        """A buffer's memory [banks, depth, elements of a word]; that of the queues as Router's docstring says."""
        p = self.build.params
        if name == "COUNTS":
            packed = sum(int(count) << p.row_bits * expert for expert, count in enumerate(machine.counts))
            return np.frombuffer(packed.to_bytes(64, "little"), np.uint8)[None, None]
        if name == "QUEUE":
            memory = np.zeros((p.max_experts, 1 << (p.max_tokens - 1).bit_length()), "<u8")
            memory[:, : p.max_tokens] = machine.tokens | machine.factors << p.row_bits
            return memory.reshape(1, -1, 1)
        if name == "LOGITS":  # three bytes each
            lanes = machine.logits[..., : min(p.c, p.max_experts)].astype("<i4")
            return lanes.copy().view(np.uint8).reshape(*lanes.shape, 4)[..., :3].reshape(*lanes.shape[:2], -1)
        return getattr(machine, name.lower()).reshape(-1, *getattr(machine, name.lower()).shape[-2:])


@pytest.fixture
def build(tmp_path):
    desc = random_description(7, tasks=TASKS, layers=LAYERS, class_token=False)
    p = auto_params([desc], 4, 4, 4)
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
