"""GELU as ReLU minus a table, from 10-bit pre-activations to uint8 with a zero point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import MAX_SHIFT, Exact, Int64, rshift, satu8
from golden.linear import scalar
from hwgen.machine.tables import GELU

#: Pre-activations h in steps of 2^-6 span [-8, 8).
H_MIN, H_MAX = -512, 511

_CODES = np.arange(H_MIN, H_MAX + 1)
_TABLE = np.where(np.abs(_CODES) < 256, np.array(GELU)[np.minimum(np.abs(_CODES), 255)], 0)
_G = 4 * np.maximum(_CODES, 0) - _TABLE


def gelu_steps(h: Int64) -> Int64:
    """g in steps of 2^-8, about `256 * gelu(h / 64)`, of pre-activations h, clamped to [-512, 511]."""
    return _G[np.clip(h, H_MIN, H_MAX) - H_MIN]


@dataclass(frozen=True, kw_only=True)
class Gelu:
    """Output scale of one GELU: `mult` uint16, `shift` 0..31, `zero` uint8 (the code of 0.0)."""

    mult: int
    shift: int
    zero: int

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str) -> Gelu:
        """Take `name.mult`, `.shift` and `.zero` of a description."""
        return cls(**{part: scalar(tensors, f"{name}.{part}") for part in ("mult", "shift", "zero")})

    def __call__(self, h: Int64 | Exact) -> NDArray[np.uint8]:
        """`satu8(rshift(g·M, S) + zero)`, uint8, of pre-activations h (steps of 2^-6, clamped here)."""
        # Each of the 1024 codes has one result: finish the codes, not the tensor.
        return self.codes()[(np.clip(h, H_MIN, H_MAX) - H_MIN).astype(np.int16)]

    def codes(self) -> NDArray[np.uint8]:
        """The output uint8 [1024] of every pre-activation -512..511."""
        assert 0 <= self.shift <= MAX_SHIFT, f"shift must be in 0..31, not {self.shift}"
        return satu8(rshift(gelu_steps(_CODES) * self.mult, self.shift) + self.zero)
