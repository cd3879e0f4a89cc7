"""Integer arithmetic shared by all operators: rounding shift, saturation, exact matmul, requantization.

Everything here returns exact integers. See "Rules used everywhere" in `docs/numerics.md`. Large tensors are computed in
floating point where no intermediate result can be rounded: float32 holds integers up to 2^24, float64 up to 2^53.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64 = NDArray[np.int64]
#: Integers below 2^53 in float64.
Exact = NDArray[np.float64]

#: Shifts of a requantization and of a LayerNorm, rescale or GELU.
MAX_REQUANT_SHIFT = 47
MAX_SHIFT = 31


def rshift(v: ArrayLike, s: ArrayLike) -> Int64:
    """Arithmetic right shift of `v` (|v| < 2^62) by `s` in 0..62, rounding to nearest, ties towards +infinity."""
    shift = np.asarray(s, dtype=np.int64)
    out = np.asarray(v, dtype=np.int64) + ((np.int64(1) << shift) >> 1)
    return np.asarray(out >> shift, dtype=np.int64)


def sat8(v: Int64 | Exact) -> NDArray[np.int8]:
    """Saturate to [-128, 127]."""
    return np.clip(v, -128, 127).astype(np.int8)


def sat9(v: Int64 | Exact) -> NDArray[np.int16]:
    """Saturate to [-255, 255]: a row operand of the array has nine bits, of which it does not take -256."""
    return np.clip(v, -255, 255).astype(np.int16)


def sat16(v: Int64 | Exact) -> NDArray[np.int16]:
    """Saturate to [-32768, 32767]."""
    return np.clip(v, -(1 << 15), (1 << 15) - 1).astype(np.int16)


def sat18(v: Int64 | Exact) -> NDArray[np.int32]:
    """Saturate to [-131072, 131071]."""
    return np.clip(v, -(1 << 17), (1 << 17) - 1).astype(np.int32)


def sat24(v: Int64 | Exact) -> NDArray[np.int32]:
    """Saturate to [-2^23, 2^23-1]."""
    return np.clip(v, -(1 << 23), (1 << 23) - 1).astype(np.int32)


def add16(x: NDArray[np.int16], update: NDArray[np.int16], shift: int = 0) -> NDArray[np.int16]:
    """Residual addition `sat16(rshift(x, shift) + update)` of two int16 tensors: x may change its scale here."""
    return sat16(rshift(x, shift) + update)


def matmul(a: NDArray[np.integer], b: NDArray[np.integer]) -> Exact:
    """Exact `a · bᵀ` over the last axis: `a` [..., R, K] -255..255, `b` [..., C, K] int8 -> [..., R, C] within int32.

    The product runs in float32 BLAS, in pieces of K so short that no partial sum, in whatever order, can exceed 2^24:
    up to there float32 represents every integer.
    """
    assert a.dtype in (np.int8, np.uint8, np.int16) and b.dtype == np.int8, f"not {a.dtype} by {b.dtype}"
    assert a.dtype.itemsize == 1 or a.size == 0 or np.abs(a).max() <= 255, "an operand has nine bits"
    k, product = a.shape[-1], 255 * 128
    assert k * product < 1 << 31, f"a dot product must fit int32, not {k * product}"
    piece = (1 << 24) // product
    out: Exact | None = None
    for start in range(0, k, piece):
        left, right = (side[..., start : start + piece].astype(np.float32) for side in (a, b))
        part = np.matmul(left, right.swapaxes(-1, -2)).astype(np.float64)
        out = part if out is None else np.add(out, part, out=out)
    assert out is not None, "a dot product has at least one term"
    return out


def requant(
    acc: Int64 | Exact, bias: ArrayLike, mult: ArrayLike, shift: ArrayLike, factor: ArrayLike | None = None
) -> Exact:
    """`rshift((acc + bias) * M, S)`, unsaturated; within 51 bits, so float64 is exact.

    acc:    int32 range, [..., R, C]
    bias:   int32, `mult` M: uint16, `shift` S: 0..47; each [C] or a scalar
    factor: row factor R, 17 bits unsigned, broadcastable to [..., R, 1]; `(R * M) >> 16` then takes the place of M
    """
    multiplier = np.asarray(mult, dtype=np.int64)
    if factor is not None:
        row = np.asarray(factor, dtype=np.int64)
        assert row.size == 0 or (row.min() >= 0 and row.max() < 1 << 17), "a row factor has 17 bits"
        multiplier = (row * multiplier) >> 16
    s = np.asarray(shift, dtype=np.int64)
    assert s.min() >= 0 and s.max() <= MAX_REQUANT_SHIFT, "a requantization shifts by 0..47"
    out: Exact = np.add(acc, bias, dtype=np.float64)
    out *= np.ldexp(multiplier.astype(np.float64), -s)
    out += 0.5
    return np.floor(out, out=out)
