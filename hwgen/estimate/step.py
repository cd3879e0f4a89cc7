"""What the cycle model says of one instruction. Tested by tests/estimate/test_cycles.py."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """An instruction on its unit, in cycles since the start, and what it adds to the run: array steps, and cycles
    without one by cause. One that waits for nothing and does nothing, an empty queue's, begins where it ends."""

    begin: float
    end: float
    busy: int
    stalls: dict[str, float]
