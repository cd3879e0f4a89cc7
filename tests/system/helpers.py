"""Whole models on the emitted Verilog: all outputs and intermediate tensors against the golden model, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.model import Golden
from hwgen.build import Build
from hwgen.common.templates import templates
from hwgen.compiler import Compiled, compile_model
from hwgen.machine.interfaces import weight_numbers
from hwgen.machine.isa import BYTES, Op
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import BY_NAME, COUNTERS, c_header
from hwgen.network.description import Description, MoeMlp
from hwgen.rtl.emit import accelerator_verilog
from sim.compare import Difference, compare_arrays
from sim.harness import Harness, Job, JobResult, Timing, build_harness
from sim.simulate import Probes, batch_tensors

__all__ = ["OFFSETS", "Runs", "Work", "assert_same", "differences", "harness", "queues", "simulate"]

#: Of the performance counters.
OFFSETS = {name: BY_NAME[name].offset for name in COUNTERS}


@lru_cache
def verilog(p: HwParams) -> str:
    return accelerator_verilog(p)


def harness(p: HwParams, text: str | None = None) -> Harness:
    """The accelerator in Verilator; `text`: its Verilog, if not what the generator makes."""
    return build_harness(text or verilog(p), header=c_header(), sources=templates() / "harness")


def queues(desc: Description, compiled: Compiled, task: str) -> dict[int, str]:
    """The tensor with the tokens of the queue that an instruction works on, by the instruction's number."""
    layers = iter(n for n, layer in enumerate(desc.model.layers) if isinstance(layer.mlp, MoeMlp))
    found = {}
    for index, instr in enumerate(compiled.instructions[task]):
        if instr.op == Op.ROUTE and not instr.fields.get("append"):
            layer = next(layers)
        if instr.fields.get("use_queue"):
            found[index] = f"layers.{layer}.expert.{instr.fields['expert']}.tokens"
    return found


class Work:
    """A description compiled for an accelerator, its images, and what the golden model makes of them.

    A run takes `batch` images, run 0 the first ones.
    """

    def __init__(self, desc: Description, p: HwParams, images: NDArray[np.uint8], batch: int = 1) -> None:
        self.desc, self.p, self.images, self.batch = desc, p, images, batch
        self.build = Build(Path(), {}, p, desc, compile_model(desc, p, batch=batch))
        self.tasks = [task.name for task in desc.model.tasks]
        self._golden = Golden(desc)
        self._expected: dict[str, Any] = {}

    @property
    def compiled(self) -> Compiled:
        return self.build.compiled

    @cached_property
    def probes(self) -> dict[str, Probes]:
        return {task: Probes(self.build, task) for task in self.tasks}

    def run_images(self, run: int) -> range:
        return range(run * self.batch, (run + 1) * self.batch)

    def input(self, run: int) -> bytes:
        return self.compiled.pack_input(self.images[self.run_images(run)])

    def tensors(self, task: str, run: int) -> dict[str, Any]:
        """The golden model's tensors of a run's images."""
        if task not in self._expected:
            self._expected[task] = self._golden.run(self.images, task, keep=True).tensors
        return batch_tensors(self._expected[task], self.run_images(run))

    def difference(self, task: str, run: int, result: JobResult) -> Difference | str | None:
        """The first thing in a finished job that is not as the golden model says."""
        tensors, probes = self.tensors(task, run), self.probes[task]
        expected = tensors[f"{task}.output"]
        output = self.compiled.unpack_output(task, result.output).reshape(expected.shape)
        return (
            probes.missing(result, tensors)
            or probes.compare(result, tensors)
            or compare_arrays(None, f"{task}.output", expected, output)
        )


Runs = Sequence[tuple[Work, str, int]]  # model, task, number of the run


def simulate(machine: Harness, runs: Runs, timing: Timing | None = None, *, alone: bool = False) -> list[JobResult]:
    """One run after another without a reset in between, other programs and weights for other models.

    `alone`: nothing lies behind a task's program that could be read ahead.
    """
    jobs, probes = [], {}
    for work, task, run in runs:
        compiled = work.compiled
        name, entry = f"{id(work)}.{task}", compiled.entries[task]
        probes[name] = work.probes[task].ranges
        end = entry + BYTES * len(compiled.instructions[task]) if alone else None
        jobs.append(
            Job(entry, work.input(run), compiled.region_bytes[task], name,
                memory=(compiled.program[:end], compiled.weights))
        )  # fmt: skip
    return machine.run(jobs, program=b"", weights=b"", probes=probes, counters=OFFSETS, timing=timing)


def differences(runs: Runs, results: Sequence[JobResult]) -> list[str]:
    """What is wrong in each run that is not bit-identical."""
    found = [work.difference(task, run, result) for (work, task, run), result in zip(runs, results, strict=True)]
    return [f"run {number}, {runs[number][1]}: {what}" for number, what in enumerate(found) if what]


def assert_same(machine: Harness, runs: Runs, timing: Timing | None = None, *, alone: bool = False) -> list[JobResult]:
    """All runs are bit-identical, each of their cycles has one cause; their results."""
    results = simulate(machine, runs, timing, alone=alone)
    assert not differences(runs, results)
    for (work, _, _), result in zip(runs, results, strict=True):
        counters = result.counters
        stalls = sum(cycles for name, cycles in counters.items() if name.startswith("stall_"))
        assert counters["array_busy"] + stalls == counters["cycles"]
        shares = [counters[f"gmem{number}_read_bytes"] for number in weight_numbers(work.p)]
        assert shares == shares[:1] * work.p.weight_ports
        assert sum(counters[f"gmem{number}_read_bytes"] for number in (0, 2, 3, 4)) == sum(shares)
        assert counters["kv_read_bytes"] == work.p.ring_bytes * counters["attention_busy"]
    return results
