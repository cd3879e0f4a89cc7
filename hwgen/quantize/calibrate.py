"""Ranges of the intermediate tensors over the calibration images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.floatmodel import FloatModel

#: Ranges keep this many significant bits, so that the last bits of a machine's arithmetic do not reach the description.
RANGE_BITS = 12


class Ranges:
    """Per channel (last axis) minimum and maximum of every tapped tensor."""

    def __init__(self) -> None:
        self.low: dict[str, np.ndarray] = {}
        self.high: dict[str, np.ndarray] = {}

    def tap(self, name: str, value: np.ndarray) -> None:
        """Account for a tensor [..., channels]."""
        rows = value.reshape(-1, value.shape[-1])
        low, high = rows.min(0), rows.max(0)
        self.low[name] = np.minimum(self.low.get(name, low), low)
        self.high[name] = np.maximum(self.high.get(name, high), high)

    def channels(self, name: str) -> np.ndarray:
        """Largest magnitude of each channel, rounded up; never zero."""
        return _round_up(np.maximum(np.maximum(-self.low[name], self.high[name]), 1e-6))

    def peak(self, name: str) -> float:
        """Largest magnitude of the tensor, rounded up; never zero."""
        return float(self.channels(name).max())

    def bounds(self, name: str) -> tuple[float, float]:
        """Smallest and largest value (at most and at least zero), rounded outwards; never both zero."""
        low, high = -self.low[name].min(), self.high[name].max()
        return -float(_round_up(np.maximum(low, 0))), float(_round_up(np.maximum(high, 1e-6)))


def _round_up(value: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(value)
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissa, RANGE_BITS)), exponent - RANGE_BITS))


def calibrate(model: FloatModel, images: np.ndarray, progress: Callable[[str], None]) -> Ranges:
    """Run all tasks over the images uint8 [B, H, W, C]; tensors before the heads share their range between tasks."""
    ranges = Ranges()
    for task in model.model.tasks:
        progress(f"calibrating {task.name} on {len(images)} images")
        model.run(images, task.name, ranges.tap)
    return ranges
