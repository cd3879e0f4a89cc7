"""LayerNorm and RMSNorm from exact integer sums with a table and a Newton step for the reciprocal root; rescale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import MAX_SHIFT, Int64, rshift, sat9, sat18
from golden.linear import scalar
from hwgen.machine.tables import RSQRT

_RSQRT = np.array(RSQRT, dtype=np.int64)


def rsqrt(v: Int64) -> tuple[Int64, Int64]:
    """`(y1, lz)` of V in 1 <= V < 2^52, so that `1/sqrt(V) ≈ y1 * 2^(lz/2 - 41)`; y1 has 17 bits.

    Table look-up on the 6 leading bits of V normalised to [2^50, 2^52), then one Newton-Raphson step
    `y1 = y0·(3 − m·y0²)/2` on 18 bits of it.
    """
    assert v.size == 0 or (v.min() >= 1 and v.max() < 1 << 52), "V must be in [1, 2^52)"
    # frexp is exact: V has at most 52 bits. Its exponent is the bit length.
    lz = (52 - np.frexp(v.astype(np.float64))[1].astype(np.int64)) & ~np.int64(1)
    vn = v << lz
    m = vn >> 34
    y0 = _RSQRT[vn >> 46]
    q = (y0 * y0) >> 16
    y1 = (y0 * ((3 << 16) - ((m * q) >> 16))) >> 17
    return y1, lz


def normalize(x: NDArray[np.int16], eps: int, rms: bool = False) -> NDArray[np.int32]:
    """xhat, 18 bits Q.10 (1024 is one standard deviation), of x int16 [..., D] over the last axis.

    `eps` is in units of V: `round(ε·D²·2^(2f))`, at least 1. `rms`: RMSNorm, which takes the mean for zero.
    """
    d = x.shape[-1]
    wide = x.astype(np.int64)
    total = np.int64(0) if rms else wide.sum(axis=-1, keepdims=True)
    y1, lz = rsqrt(d * (wide * wide).sum(axis=-1, keepdims=True) - total * total + eps)
    return sat18(rshift((d * wide - total) * y1, 31 - (lz >> 1)))


@dataclass(frozen=True, kw_only=True)
class Norm:
    """LayerNorm, with `rms` RMSNorm, with `eps` None a rescale: `gamma` int16 [D], `beta` int32 [D], `shift` 0..31."""

    gamma: NDArray[np.int16]
    beta: NDArray[np.int32]
    shift: int
    eps: int | None = None
    rms: bool = False

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str, rms: bool = False) -> Norm:
        """Take `name.gamma`, `.beta`, `.shift` and, where there is one, `.eps` of a description."""
        return cls(
            gamma=tensors[f"{name}.gamma"],
            beta=tensors[f"{name}.beta"],
            shift=scalar(tensors, f"{name}.shift"),
            eps=scalar(tensors, f"{name}.eps") if f"{name}.eps" in tensors else None,
            rms=rms,
        )

    def __call__(self, x: NDArray[np.int16]) -> NDArray[np.int16]:
        """`sat9(rshift(xhat·gamma + beta, S))`, -255..255 [..., D], of x int16 [..., D]; a rescale takes x for xhat."""
        assert 0 <= self.shift <= MAX_SHIFT, f"shift must be in 0..31, not {self.shift}"
        xhat: NDArray = x if self.eps is None else normalize(x, self.eps, self.rms)
        return sat9(rshift(xhat.astype(np.int64) * self.gamma + self.beta, self.shift))
