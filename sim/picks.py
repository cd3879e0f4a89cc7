"""Designs of `hwgen explore`, built and simulated: measured beside estimated, every bit against the golden model.

Tested by tests/cli/test_explore.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwgen.build import build
from hwgen.estimate.cycles import estimate
from sim.job import Timing
from sim.simulate import load_images, simulate

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """Cycles per image, the mean of the tasks. estimated: on the same memory, with usual loads of the experts."""

    measured: float
    estimated: float
    identical: bool

    @property
    def error(self) -> float:
        """Of the estimate."""
        return self.estimated / self.measured - 1


def verify(config: Path, folder: Path, latency: int, progress: Callable[[str, int, int], None]) -> Verified:
    """Builds `config` in the folder and simulates one run of each task at a memory latency in cycles."""
    made = build(config, folder, force=True, progress=lambda text: progress(text, 0, 0))
    images, _ = load_images(made, made.compiled.batch)
    report = simulate(made, images, timing=Timing(latency), progress=progress)
    tasks = report.tasks.values()
    guesses = [estimate(made.compiled, task.task, made.params, latency=latency).cycles for task in tasks]
    return Verified(
        float(np.mean([np.mean(task.cycles) for task in tasks])),
        float(np.mean(guesses)) / made.compiled.batch, report.identical,
    )  # fmt: skip
