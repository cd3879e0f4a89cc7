"""Integer arithmetic shared by all operators: rounding shift, saturation, exact matmul, requantization.

Everything here returns exact integers. See "Rules used everywhere" in `docs/numerics.md`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64 = NDArray[np.int64]

#: Shifts of a requantization and of a LayerNorm, rescale or GELU.
MAX_REQUANT_SHIFT = 47
MAX_SHIFT = 31


def rshift(v: ArrayLike, s: ArrayLike) -> Int64:
    """Arithmetic right shift of `v` (|v| < 2^62) by `s` in 0..62, rounding to nearest, ties towards +infinity."""
    shift = np.asarray(s, dtype=np.int64)
    out = np.asarray(v, dtype=np.int64) + ((np.int64(1) << shift) >> 1)
    return np.asarray(out >> shift, dtype=np.int64)


def sat8(v: Int64) -> NDArray[np.int8]:
    """Saturate to [-128, 127]."""
    return np.clip(v, -128, 127).astype(np.int8)


def satu8(v: Int64) -> NDArray[np.uint8]:
    """Saturate to [0, 255]."""
    return np.clip(v, 0, 255).astype(np.uint8)


def sat16(v: Int64) -> NDArray[np.int16]:
    """Saturate to [-32768, 32767]."""
    return np.clip(v, -(1 << 15), (1 << 15) - 1).astype(np.int16)


def sat18(v: Int64) -> NDArray[np.int32]:
    """Saturate to [-131072, 131071]."""
    return np.clip(v, -(1 << 17), (1 << 17) - 1).astype(np.int32)


def sat24(v: Int64) -> NDArray[np.int32]:
    """Saturate to [-2^23, 2^23-1]."""
    return np.clip(v, -(1 << 23), (1 << 23) - 1).astype(np.int32)


def add16(x: NDArray[np.int16], update: NDArray[np.int16]) -> NDArray[np.int16]:
    """Residual addition `sat16(x + update)` of two int16 tensors."""
    return sat16(np.add(x, update, dtype=np.int64))


def matmul(a: NDArray[np.integer], b: NDArray[np.integer]) -> Int64:
    """Exact `a · bᵀ` over the last axis: `a` [..., R, K] and `b` [..., C, K], both 8-bit -> [..., R, C] within int32.

    The product runs in floating point BLAS. It is exact in every summation order, because no partial sum exceeds K
    times the largest product, and that bound stays within the integers which the float type represents.
    """
    bound = a.shape[-1] * _largest(a) * _largest(b)
    assert bound < 1 << 31, f"a dot product must fit int32, not {bound}"
    kind: type[np.floating] = np.float32 if bound <= 1 << 24 else np.float64
    return np.matmul(a.astype(kind), b.astype(kind).swapaxes(-1, -2)).astype(np.int64)


def requant(acc: Int64, bias: ArrayLike, mult: ArrayLike, shift: ArrayLike, factor: ArrayLike | None = None) -> Int64:
    """`rshift((acc + bias) * M, S)`, unsaturated.

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
    assert acc.size == 0 or (acc.min() >= -(1 << 31) and acc.max() < 1 << 31), "an accumulator has 32 bits"
    out = acc + np.asarray(bias, dtype=np.int64)
    out *= multiplier
    out += (np.int64(1) << s) >> 1
    out >>= s
    return out


def _largest(a: NDArray[np.integer]) -> int:
    """The largest magnitude of the operand's type."""
    assert a.dtype in (np.int8, np.uint8), f"a matmul operand must be int8 or uint8, not {a.dtype}"
    return 128 if a.dtype == np.int8 else 255
