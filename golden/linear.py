"""A linear layer: int8 weights and one requantization (bias, multiplier, shift) per output channel.

Tested by tests/golden/test_model.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.fixed import Exact, Int64, matmul, requant


def scalar(tensors: Mapping[str, NDArray], name: str) -> int:
    """The value of a tensor of shape [1]."""
    return int(tensors[name].item())


@dataclass(frozen=True, kw_only=True)
class Linear:
    """`weight` int8 [out, in], `bias` int32 [out], `mult` uint16 [out], `shift` uint8 [out] in 0..47."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    mult: NDArray[np.uint16]
    shift: NDArray[np.uint8]

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str) -> Linear:
        """Take `name.weight`, `.bias`, `.mult` and `.shift` of a description."""
        return cls(**{part: tensors[f"{name}.{part}"] for part in ("weight", "bias", "mult", "shift")})

    def __call__(self, a: NDArray[np.integer], factor: ArrayLike | None = None) -> Exact:
        """`requant(a · Wᵀ)` for 8-bit `a` [..., rows, in], unsaturated [..., rows, out]; `factor` as in `requant`."""
        return requant(matmul(a, self.weight), self.bias, self.mult, self.shift, factor)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A requantization of a whole tensor: `mult` uint16 and `shift`, no bias."""

    mult: int
    shift: int

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str) -> Scale:
        """Take `name.mult` and `name.shift` of a description."""
        return cls(mult=scalar(tensors, f"{name}.mult"), shift=scalar(tensors, f"{name}.shift"))

    def __call__(self, acc: Int64 | Exact, factor: ArrayLike | None = None) -> Exact:
        """`rshift(acc * M, S)`, unsaturated; `factor` as in `requant`."""
        return requant(acc, 0, self.mult, self.shift, factor)
