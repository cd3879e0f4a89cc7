"""Real factors as the hardware's multiplier M and shift S (docs/numerics.md, "Requantize")."""

from __future__ import annotations

import numpy as np


def multiplier(ratio: np.ndarray | float, max_shift: int = 47) -> tuple[np.ndarray, np.ndarray]:
    """`ratio` ≈ M / 2^S with M uint16 in [2^15, 2^16) wherever 0 <= S <= max_shift allows it, S uint8.

    Scalars give arrays of shape [1]. Ratios beyond the range give the nearest M at the end of it.
    """
    ratio = np.atleast_1d(np.asarray(ratio, np.float64))
    _, exponent = np.frexp(ratio)  # ratio = mantissa · 2^exponent, mantissa in [0.5, 1)
    shift = np.clip(16 - exponent, 0, max_shift)
    mult = np.rint(np.ldexp(ratio, shift))
    # A mantissa just below 1 rounds to 2^16: halve it.
    carry = (mult > 65535) & (shift > 0)
    shift = shift - carry
    mult = np.clip(np.rint(np.ldexp(ratio, shift)), 0, 65535)
    return mult.astype(np.uint16), shift.astype(np.uint8)
