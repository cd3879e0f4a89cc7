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
#: Smallest and largest code of a tensor by its kind, the last part of its name.
LIMITS = (
    dict.fromkeys(("norm_pre", "norm1", "norm2", "norm", "rescale", "map_norm"), (-255, 255))
    | dict.fromkeys(("rescale1", "rescale2"), (-255, 255))
    | dict.fromkeys(("q", "context", "up", "hidden", "mean"), (-255, 255))
    | dict.fromkeys(("k", "v"), (-128, 127))
    | dict.fromkeys(("embed", "stream", "q_proj", "k_proj", "proj", "fc2", "attn", "mlp"), (-32768, 32767))
    | dict.fromkeys(("pool", "output"), (-32768, 32767))
    | {"pre": (-4096, 4095)}
)
#: Kinds in which clipped values matter if they make more than this share of the error.
WATCHED = (
    "embed", "norm_pre", "stream", "rescale1", "norm1", "context", "proj", "attn", "rescale2", "norm2", "pre", "up",
    "hidden", "fc2", "mlp", "norm",
)  # fmt: skip
WORTH_A_WARNING = 0.01


@dataclass
class Tensor:
    """Sums over all values seen of a tensor whose codes, within `limits`, stand for code·step + centre."""

    grid: Grid
    limits: tuple[int, int | np.ndarray]  #: the upper one may be of each channel
    signal: float = 0.0
    noise: float = 0.0
    values: int = 0
    clipped: int = 0  #: float values further beyond the last code than half a step
    clipped_noise: float = 0.0  #: what they make of the noise
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
        step, centre = self.grid.step, self.grid.centre
        error = (codes * step + centre - wanted) ** 2
        position = (wanted - centre) / step
        clipped = (position < self.limits[0] - 0.5) | (position > self.limits[1] + 0.5)
        self.code_low = int(min(codes.min(), self.code_low if self.values else codes.min()))
        self.code_high = int(max(codes.max(), self.code_high if self.values else codes.max()))
        self.values += wanted.size
        self.signal += float((wanted.astype(np.float64) ** 2).sum())
        self.noise += float(error.sum())
        self.clipped += int(clipped.sum())
        self.clipped_noise += float(error[clipped].sum())
        self.low, self.high = min(self.low, float(wanted.min())), max(self.high, float(wanted.max()))
        self.peaks = np.maximum(self.peaks, np.abs(wanted).max(0))

    def add(self, other: Tensor) -> None:
        """Account for what another has seen of the same tensor."""
        first = not self.values
        self.code_low = other.code_low if first else min(self.code_low, other.code_low)
        self.code_high = other.code_high if first else max(self.code_high, other.code_high)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.peaks = np.maximum(self.peaks, other.peaks)
        for total in ("signal", "noise", "values", "clipped", "clipped_noise"):
            setattr(self, total, getattr(self, total) + getattr(other, total))

    @property
    def clipped_error_share(self) -> float:
        """Share of the clipped values in the noise."""
        return self.clipped_noise / self.noise if self.noise else 0.0

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
            "clipped_error_share": self.clipped_error_share,
            "largest_channel_ratio": float(ratio.max()),
            "outliers": int((ratio > OUTLIER).sum()),
            "outlier_channels": {int(channel): float(ratio[channel]) for channel in order if ratio[channel] > OUTLIER},
        }
