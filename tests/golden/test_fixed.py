"""Rounding, saturation, exact products and requantization against Python integers."""

import numpy as np
import pytest

from golden.fixed import add16, matmul, requant, rshift, sat8, sat9, sat16, sat18, sat24
from tests.golden import scalar


def test_rshift_ties_go_up() -> None:
    assert rshift([-3, -2, -1, 0, 1, 2, 3, 5], 1).tolist() == [-1, -1, 0, 0, 1, 1, 2, 3]
    assert rshift([-7, -6, -5, 6], 2).tolist() == [-2, -1, -1, 2]
    assert rshift([-5, 0, 7], 0).tolist() == [-5, 0, 7]


@pytest.mark.parametrize("s", [0, 1, 2, 17, 31, 47])
def test_rshift_random(s: int) -> None:
    v = np.random.default_rng(s).integers(-(1 << 49), 1 << 49, 200)
    v = np.concatenate([v, np.arange(-5, 6), np.arange(-2, 3) + ((1 << s) >> 1), np.arange(-2, 3) - ((1 << s) >> 1)])
    assert rshift(v, s).tolist() == [scalar.rnd(e, s) for e in v.tolist()]


@pytest.mark.parametrize(
    ("function", "low", "high", "dtype"),
    [
        (sat8, -128, 127, np.int8),
        (sat9, -255, 255, np.int16),
        (sat16, -32768, 32767, np.int16),
        (sat18, -131072, 131071, np.int32),
        (sat24, -(1 << 23), (1 << 23) - 1, np.int32),
    ],
)
def test_saturate(function, low: int, high: int, dtype: type) -> None:
    got = function(np.array([-(1 << 60), low - 1, low, low + 1, high - 1, high, high + 1, 1 << 60]))
    assert got.dtype == dtype
    assert got.tolist() == [low, low, low, low + 1, high - 1, high, high, high]


def test_add16_saturates() -> None:
    x = np.array([32767, -32768, 32767, 5], np.int16)
    assert add16(x, np.array([1, -1, -32768, -7], np.int16)).tolist() == [32767, -32768, -1, -2]


def test_add16_shifts_what_was_there_with_rounding() -> None:
    """Ties of x go up; the update is at the new scale already; nothing overflows."""
    x = np.array([5, -5, 6, 7, 32767, -32768], np.int16)
    update = np.array([0, 0, 0, 100, 32767, -32768], np.int16)
    assert add16(x, update, 1).tolist() == [3, -2, 3, 104, 32767, -32768]
    assert add16(x, update, 3).tolist() == [1, -1, 1, 101, 32767, -32768]
    assert add16(x, np.zeros(6, np.int16), 2).tolist() == [1, -1, 2, 2, 8192, -8192]


@pytest.mark.parametrize("left", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("k", [1, 7, 514, 515, 1028, 1029, 3000])
def test_matmul_is_exact(left: type, k: int) -> None:
    """The widths straddle those that need a piece more, beyond 514 products."""
    rng = np.random.default_rng(k)
    low, high = {np.int8: (-128, 127), np.uint8: (0, 255), np.int16: (-255, 255)}[left]
    a: np.ndarray = rng.integers(low, high + 1, (3, k)).astype(left)
    b = rng.integers(-128, 128, (4, k)).astype(np.int8)
    a[0], b[0], b[1] = (low or high), -128, 127
    got = matmul(a, b)
    assert got.dtype == np.float64
    assert got.tolist() == [[scalar.dot(r, c) for c in b.tolist()] for r in a.tolist()]


def test_matmul_at_the_limit_of_int32() -> None:
    k = 65535
    assert matmul(np.full((1, k), 255, np.uint8), np.full((1, k), -128, np.int8)).tolist() == [[-k * 255 * 128]]
    with pytest.raises(AssertionError, match="must fit int32"):
        matmul(np.zeros((1, 70000), np.uint8), np.zeros((1, 70000), np.int8))
    with pytest.raises(AssertionError, match="not int32 by int8"):
        matmul(np.zeros((1, 4), np.int32), np.zeros((1, 4), np.int8))
    with pytest.raises(AssertionError, match="an operand has nine bits"):
        matmul(np.full((1, 4), -256, np.int16), np.zeros((1, 4), np.int8))


@pytest.mark.parametrize("with_factor", [False, True])
def test_requant(with_factor: bool) -> None:
    rng = np.random.default_rng(1)
    n, c = 8, 300
    acc = rng.integers(-(1 << 31), 1 << 31, (n, c))
    bias, mult = rng.integers(-(1 << 31), 1 << 31, c), rng.integers(0, 1 << 16, c)
    shift = rng.integers(0, 48, c)
    acc[0], bias[:100], mult[:100] = (1 << 31) - 1, (1 << 31) - 1, 65535
    acc[1], bias[100:200], mult[100:200] = -(1 << 31), -(1 << 31), 65535
    factor = rng.integers(0, 1 << 17, n)
    factor[:3] = (1 << 17) - 1, 0, 65536
    before = acc.copy()
    got = requant(
        acc,
        bias.astype(np.int32),
        mult.astype(np.uint16),
        shift.astype(np.uint8),
        factor[:, None] if with_factor else None,
    )
    for i in range(n):
        for j in range(c):
            m = (int(factor[i]) * int(mult[j])) >> 16 if with_factor else int(mult[j])
            assert got[i, j] == scalar.rnd((int(acc[i, j]) + int(bias[j])) * m, int(shift[j]))
    assert (acc == before).all(), "the accumulator is the caller's"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": 48}, r"shifts by 0\.\.47"),
        ({"factor": np.array([1 << 17])}, "a row factor has 17 bits"),
    ],
)
def test_requant_asserts_ranges(change: dict, message: str) -> None:
    arguments = {"acc": np.array([1]), "bias": 0, "mult": 1, "shift": 1} | change
    with pytest.raises(AssertionError, match=message):
        requant(**arguments)
