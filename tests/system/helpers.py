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
from hwgen.compiler import Compiled, compile_model
from hwgen.description import Description
from hwgen.params import HwParams
from hwgen.regmap import c_header
from hwgen.rtl.emit import accelerator_verilog, templates
from hwgen.simulate import Probes
from sim.compare import Difference, compare_arrays, image_tensors
from sim.harness import Harness, Job, JobResult, Timing, build_harness

__all__ = ["Runs", "Work", "assert_same", "differences", "harness", "simulate"]


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

    @cached_property
    def probes(self) -> dict[str, Probes]:
        return {task: Probes(self.build, task) for task in self.tasks}

    def tensors(self, task: str, image: int) -> dict[str, Any]:
        """The golden model's tensors of one image."""
        if task not in self._expected:
            self._expected[task] = self._golden.run(self.images, task, keep=True).tensors
        return image_tensors(self._expected[task], image)

    def difference(self, task: str, image: int, result: JobResult) -> Difference | str | None:
        """The first thing in a finished job that is not as the golden model says."""
        tensors, probes = self.tensors(task, image), self.probes[task]
        output = self.compiled.unpack_output(task, result.output)
        return (
            probes.missing(result, tensors)
            or probes.compare(result, tensors)
            or compare_arrays(None, f"{task}.output", tensors[f"{task}.output"], output)
        )


Runs = Sequence[tuple[Work, str, int]]  # model, task, image


def simulate(machine: Harness, runs: Runs, timing: Timing | None = None) -> list[JobResult]:
    """One run after another without a reset in between, other programs and weights for other models."""
    jobs, probes = [], {}
    for work, task, image in runs:
        compiled = work.compiled
        name = f"{id(work)}.{task}"
        probes[name] = work.probes[task].ranges
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
