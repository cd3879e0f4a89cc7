"""Whole models on the emitted Verilog: all outputs and intermediate tensors against the golden model, to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.model import Golden
from hwgen.build import Build
from hwgen.compiler import Compiled, compile_model
from hwgen.compiler import Probe as TensorProbe
from hwgen.description import Description
from hwgen.params import HwParams
from hwgen.regmap import c_header
from hwgen.rtl.emit import TOP, accelerator_verilog, templates
from hwgen.simulate import Probes
from sim.compare import Difference, compare_arrays, first_difference, image_tensors
from sim.harness import Harness, Job, JobResult, Probe, Timing, build_harness

__all__ = ["Runs", "Work", "assert_same", "differences", "harness", "simulate"]

#: The RAM of all experts' queues, in the datapath: words of a token number and its gate weight.
QUEUE = f"{TOP}.core.datapath.router.queue.ram"
WEIGHT_BITS = 17


@lru_cache
def verilog(p: HwParams) -> str:
    return accelerator_verilog(p)


def harness(p: HwParams, text: str | None = None) -> Harness:
    """The accelerator in Verilator; `text`: its Verilog, if not what the generator makes."""
    return build_harness(text or verilog(p), header=c_header(), sources=templates() / "harness")


class Work:
    """A description compiled for an accelerator, its images, and what the golden model makes of them."""

    def __init__(self, desc: Description, p: HwParams, images: NDArray[np.uint8]) -> None:
        self.desc, self.p, self.images = desc, p, images
        self.build = Build(Path(), {}, p, desc, compile_model(desc, p))
        self.tasks = [task.name for task in desc.model.tasks]
        self._golden = Golden(desc)
        self._expected: dict[str, Any] = {}

    @property
    def compiled(self) -> Compiled:
        return self.build.compiled

    def tensors(self, task: str, image: int) -> dict[str, Any]:
        """The golden model's tensors of one image."""
        if task not in self._expected:
            self._expected[task] = self._golden.run(self.images, task, keep=True).tensors
        return image_tensors(self._expected[task], image)

    @cached_property
    def probes(self) -> dict[str, Probes]:
        return {task: Probes(self.build, task) for task in self.tasks}

    def queues(self, task: str) -> dict[int, list[TensorProbe]]:
        """By instruction, the probes of the experts' queues."""
        found: dict[int, list[TensorProbe]] = {}
        for probe in self.compiled.probes[task]:
            if probe.buffer == "QUEUE":
                found.setdefault(probe.instruction, []).append(probe)
        return found

    def ranges(self, task: str) -> dict[int, list[Probe]]:
        """All memory words to be dumped: those of the buffers, then the queues."""
        p = self.p
        depth = max(2, p.max_experts << (p.max_tokens - 1).bit_length())
        queue = Probe(QUEUE, 0, depth, p.row_bits + WEIGHT_BITS)
        return {**self.probes[task].ranges, **{instruction: [queue] for instruction in self.queues(task)}}

    def difference(self, task: str, image: int, result: JobResult) -> Difference | str | None:
        """The first thing in a finished job that is not as the golden model says."""
        tensors, queues = self.tensors(task, image), self.queues(task)
        rest = JobResult(result.output, error=result.error, error_index=result.error_index,
                         dumps={key: dump for key, dump in result.dumps.items() if key not in queues})  # fmt: skip
        found = self.probes[task].missing(rest, tensors)
        for instruction, probes in queues.items() if not found else ():
            dump = {instruction: self._queues(result.dumps[instruction][0], probes, tensors)}
            found = found or first_difference(probes, dump, tensors)
        output = self.compiled.unpack_output(task, result.output)
        return (
            found
            or self.probes[task].compare(rest, tensors)
            or compare_arrays(None, f"{task}.output", tensors[f"{task}.output"], output)
        )

    def _queues(
        self, words: NDArray[np.uint8], probes: Sequence[TensorProbe], tensors: Mapping[str, Any]
    ) -> dict[str, NDArray]:
        """The router's counts are registers and not dumped; a wrong one shows in the rows of `hidden` and in `mlp`."""
        p = self.p
        wide = np.zeros((len(words), 8), np.uint8)
        wide[:, : words.shape[1]] = words
        entries = wide.view("<u8").reshape(-1, 1 << (p.max_tokens - 1).bit_length()).astype(np.int64)
        counts = np.zeros(p.max_experts, np.int64)
        for probe in probes:
            counts[probe.expert] = len(tensors[probe.tensor])
        return {
            "counts": counts,
            "tokens": entries & ((1 << p.row_bits) - 1),
            "weights": entries >> p.row_bits & ((1 << WEIGHT_BITS) - 1),
        }


Runs = Sequence[tuple[Work, str, int]]  # model, task, image


def simulate(machine: Harness, runs: Runs, timing: Timing | None = None) -> list[JobResult]:
    """One run after another without a reset in between, other programs and weights for other models."""
    jobs, probes = [], {}
    for work, task, image in runs:
        compiled = work.compiled
        name = f"{id(work)}.{task}"
        probes[name] = work.ranges(task)
        jobs.append(
            Job(compiled.entries[task], work.images[image].tobytes(), compiled.output_bytes[task], name,
                memory=(compiled.program, compiled.weights))
        )  # fmt: skip
    return machine.run(jobs, program=b"", weights=b"", probes=probes, timing=timing)


def differences(runs: Runs, results: Sequence[JobResult]) -> list[str]:
    """What is wrong in each run that is not bit-identical."""
    found = [work.difference(task, image, result) for (work, task, image), result in zip(runs, results, strict=True)]
    return [f"run {number}, {runs[number][1]}: {what}" for number, what in enumerate(found) if what]


def assert_same(machine: Harness, runs: Runs, timing: Timing | None = None) -> list[JobResult]:
    """All runs are bit-identical; their results."""
    results = simulate(machine, runs, timing)
    assert not differences(runs, results)
    return results
