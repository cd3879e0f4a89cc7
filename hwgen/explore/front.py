"""What is best: objectives, and the designs that no other one beats in everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwgen.explore.evaluate import Design

__all__ = ["OBJECTIVES", "best", "front"]

#: By name: unit, and what is to be small.
OBJECTIVES: dict[str, tuple[str, Callable[[Design], float]]] = {
    "latency": ("ms", lambda design: design.ms),
    "fps": ("frames per second", lambda design: -design.fps),
    "fps-per-dsp": ("frames per second and DSP", lambda design: -design.fps / max(design.resources["dsp"], 1)),
    "energy": ("µJ per image, proxy", lambda design: design.energy_uj),
}
#: Block RAMs of 36 Kbit that an UltraRAM stands for.
URAM = 8


def best(designs: Sequence[Design], objective: str) -> list[Design]:
    """Those to choose from, the best first; of equal ones the smaller."""
    value = OBJECTIVES[objective][1]
    return sorted((one for one in designs if one.counts), key=lambda one: (value(one), *_costs(one)))


def front(designs: Sequence[Design], objective: str) -> list[Design]:
    """No other design is at least as good in the objective, in multipliers, block RAM and LUTs, and better in one. The
    best first."""
    value = OBJECTIVES[objective][1]
    kept: list[Design] = []
    rows = np.empty((0, 4))
    for design in best(designs, objective):
        row = np.array([value(design), *_costs(design)])
        # Sorted: only those before can be as good in the objective.
        if not ((rows <= row).all(axis=1)).any():
            kept.append(design)
            rows = np.vstack([rows, row])
    return kept


def _costs(design: Design) -> tuple[float, float, float]:
    need = design.resources
    return need["dsp"], need["bram36"] + URAM * need["uram"], need["lut"]
