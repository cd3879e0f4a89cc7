"""What calibration keeps of a tensor: extremes and moments of each channel, and a histogram where one is asked for."""

from __future__ import annotations

import numpy as np

#: Bins of a histogram over [-limit, limit); limits are powers of two, so at least an eighth lies within the extremes.
BINS = 1024

#: Moments keep this many significant bits, so that a machine's own rounding does not reach the description.
MOMENT_BITS = 16


def significant(value: np.ndarray, bits: int) -> np.ndarray:
    """The nearest number of so many significant bits."""
    mantissa, exponent = np.frexp(value)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits))


class Histogram:
    """Counts per row over [-limit, limit), a power of two for each row; a value beyond doubles the row's limit."""

    def __init__(self, rows: int) -> None:
        self.counts = np.zeros((rows, BINS), np.int64)
        self.limit = np.zeros(rows)

    def add(self, values: np.ndarray, peak: np.ndarray) -> None:
        """Count values [n, rows] of largest magnitudes `peak` [rows]."""
        self._widen(np.ldexp(1.0, np.frexp(np.maximum(peak, 1e-9))[1]))
        rows = len(self.limit)
        bins = ((values + self.limit) * (BINS / 2 / self.limit)).astype(np.int32)
        bins += np.arange(rows, dtype=np.int32) * BINS
        self.counts += np.bincount(bins.ravel(), minlength=rows * BINS).reshape(rows, BINS)

    def _widen(self, wanted: np.ndarray) -> None:
        self.limit = np.where(self.limit == 0, wanted, self.limit)
        while (narrow := np.flatnonzero(self.limit < wanted)).size:
            pairs = self.counts[narrow].reshape(len(narrow), BINS // 2, 2).sum(-1)
            self.counts[narrow] = np.pad(pairs, ((0, 0), (BINS // 4, BINS // 4)))
            self.limit[narrow] *= 2

    def centres(self) -> np.ndarray:
        """The value in the middle of each bin, [rows, BINS]."""
        return self.limit[:, None] * ((np.arange(BINS) + 0.5) / (BINS / 2) - 1)


class Observer:
    """Statistics of a tensor [..., channels] over all calls of `see`.

    low, high: extremes of each channel
    histogram: of each channel, of the whole tensor (one row), or None
    """

    #: Sums of products of channels over the rows given to `see_products`, and how many these were.
    products: np.ndarray | None = None
    rows = 0

    def __init__(self, channels: int, histogram: str = "none") -> None:
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.count = 0
        self._sum, self._squares = np.zeros(channels), np.zeros(channels)
        rows = {"none": 0, "tensor": 1, "channel": channels}[histogram]
        self.histogram = Histogram(rows) if rows else None

    def see(self, value: np.ndarray) -> None:
        """Account for a tensor [..., channels]."""
        rows = value.reshape(-1, value.shape[-1])
        low, high = rows.min(0), rows.max(0)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.count += len(rows)
        self._sum += rows.sum(0)
        self._squares += np.einsum("nc,nc->c", rows, rows)
        if self.histogram is not None:
            peak = np.maximum(-low, high)
            if len(self.histogram.limit) == 1:
                rows, peak = rows.reshape(-1, 1), peak.max(keepdims=True)
            self.histogram.add(rows, peak)

    def see_products(self, value: np.ndarray) -> None:
        """Account for a tensor [..., channels] in the covariance."""
        rows = value.reshape(-1, value.shape[-1])
        if self.products is None:
            self.products = np.zeros((rows.shape[1],) * 2)
            self._product_sum = np.zeros(rows.shape[1])
        self.products += rows.T @ rows
        self._product_sum += rows.sum(0, np.float64)
        self.rows += len(rows)

    def covariance(self) -> np.ndarray | None:
        """Of the channels [channels, channels], over the rows given to `see_products`; None if there were none."""
        if self.products is None:
            return None
        mean = self._product_sum / self.rows
        return significant(self.products / self.rows - np.outer(mean, mean), MOMENT_BITS)

    def mean(self) -> np.ndarray:
        """Of each channel."""
        return significant(self._sum / self.count, MOMENT_BITS)

    def variance(self) -> np.ndarray:
        """Of each channel."""
        return significant(np.maximum(self._squares / self.count - (self._sum / self.count) ** 2, 0), MOMENT_BITS)
