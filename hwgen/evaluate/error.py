"""How far outputs are from others."""

from __future__ import annotations

import numpy as np


def relative_rms(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root of the mean squared error over that of `wanted`."""
    wanted = wanted.astype(np.float64)
    return float(np.sqrt(((found - wanted) ** 2).sum() / (wanted**2).sum()))


def sqnr_db(found: np.ndarray, wanted: np.ndarray) -> float:
    """Signal to noise ratio of `found` against `wanted`; infinity where they are the same."""
    with np.errstate(divide="ignore"):
        return float(-20 * np.log10(relative_rms(found, wanted)))
