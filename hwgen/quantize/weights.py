"""Rounding of weights to 8 or 4 bits with one scale per output channel."""

from __future__ import annotations

import numpy as np

#: Candidates for the scale of four-bit weights: the largest magnitude times these is the largest code.
SHARES = np.linspace(0.5, 1, 51)


def round_weights(
    weight: np.ndarray, bits: int, smallest: np.ndarray, importance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Codes [out, in] and scales [out] of weights [out, in]; scales are at least `smallest` [out], for zeros 0.

    Eight bits cover the largest weight. Four bits are too coarse for that: the scale is the one with the smallest
    squared error of the outputs, weighted by the inputs' variances `importance` [in].
    """
    limit = (1 << bits - 1) - 1
    largest = np.abs(weight).max(1)
    scale = np.maximum(largest / limit, smallest)
    if bits == 4:
        importance = importance + importance.mean() / 100 + 1e-30  # inputs that calibration did not move
        errors = [_error(weight, np.maximum(share * largest / limit, smallest), limit, importance) for share in SHARES]
        scale = np.maximum(SHARES[np.argmin(errors, axis=0)] * largest / limit, smallest)
    return _codes(weight, scale, limit), scale


def given_codes(weight: np.ndarray, scale: np.ndarray, smallest: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes and scales, at least `smallest`, of weights [out, in] that are integers times `scale` [out]; None where
    that is too small: only a channel of zeros can have another."""
    codes = np.rint(weight / scale[:, None])
    return None if codes[scale < smallest].any() else (codes, np.maximum(scale, smallest))


def _codes(weight: np.ndarray, scale: np.ndarray, limit: int) -> np.ndarray:
    return np.clip(np.rint(weight / np.where(scale > 0, scale, 1)[:, None]), -limit, limit)


def _error(weight: np.ndarray, scale: np.ndarray, limit: int, importance: np.ndarray) -> np.ndarray:
    """Of each output channel."""
    return np.asarray(((_codes(weight, scale, limit) * scale[:, None] - weight) ** 2) @ importance)
