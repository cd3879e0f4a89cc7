"""Arithmetic of the instruction-level model, from docs/numerics.md. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ints", "operand", "rshift", "sat"]

Ints = NDArray[Any]


def rshift(value: Ints, shift: Ints | int) -> Ints:
    """Arithmetic shift, ties towards +infinity."""
    return (value + (np.left_shift(1, shift) >> 1)) >> shift


def sat(value: Ints, bits: int) -> Ints:
    return np.clip(value, -(1 << bits - 1), (1 << bits - 1) - 1)


def operand(value: Ints) -> Ints:
    """A row operand of the array."""
    return np.clip(value, -255, 255)
