"""A tensor of the integer model beside the float network's: noise, ranges, clipping, outlier channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwgen.quantize.steps import Grid

#: A channel is an outlier if its peak is so many times the median channel's.
OUTLIER = 4.0
#: So many outlier channels are named, the largest first.
NAMED = 8


@dataclass
class Tensor:
    """Sums over all values seen of a tensor whose codes stand for code·step + centre."""

    grid: Grid
    signal: float = 0.0
    noise: float = 0.0
    values: int = 0
    clipped: int = 0  #: float values further beyond the last code than half a step
    low: float = np.inf  #: of the float network
    high: float = -np.inf
    code_low: int = 0
    code_high: int = 0
    peaks: np.ndarray = field(default_factory=lambda: np.zeros(1))  #: largest float magnitude of each channel

    def see(self, wanted: np.ndarray, codes: np.ndarray) -> None:
        """Account for float values and codes of the same shape [..., channels]."""
        wanted, codes = (array.reshape(-1, array.shape[-1]) for array in (wanted, codes))
        if not len(codes):
            return
        step, centre, limits = self.grid.step, self.grid.centre, np.iinfo(codes.dtype)
        real = codes * step + centre
        position = (wanted - centre) / step
        self.code_low = int(min(codes.min(), self.code_low if self.values else codes.min()))
        self.code_high = int(max(codes.max(), self.code_high if self.values else codes.max()))
        self.values += wanted.size
        self.signal += float((wanted.astype(np.float64) ** 2).sum())
        self.noise += float(((real - wanted) ** 2).sum())
        self.clipped += int(((position < limits.min - 0.5) | (position > limits.max + 0.5)).sum())
        self.low, self.high = min(self.low, float(wanted.min())), max(self.high, float(wanted.max()))
        self.peaks = np.maximum(self.peaks, np.abs(wanted).max(0))

    @property
    def sqnr(self) -> float | None:
        """Signal to quantization noise in dB; None without any signal or any noise."""
        return float(10 * np.log10(self.signal / self.noise)) if self.signal and self.noise else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        median = float(np.median(self.peaks))
        ratio = self.peaks / median if median else np.ones_like(self.peaks)
        order = np.argsort(-ratio, kind="stable")[:NAMED]
        return {
            "sqnr_db": self.sqnr,
            "float_range": [self.low, self.high],
            "code_range": [self.code_low, self.code_high],
            "clipped_share": self.clipped / self.values,
            "largest_channel_ratio": float(ratio.max()),
            "outliers": int((ratio > OUTLIER).sum()),
            "outlier_channels": {int(channel): float(ratio[channel]) for channel in order if ratio[channel] > OUTLIER},
        }
