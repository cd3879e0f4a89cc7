"""Softmax and attention against Python integers."""

import numpy as np
import pytest

from golden.attention import Attention, dither, probabilities, weigh
from golden.linear import Scale
from tests.golden import scalar


@pytest.mark.parametrize("place", range(32))
def test_probabilities_every_u(place: int) -> None:
    """Each u at each of the 32 places of the dither: the row is turned, its maximum with it."""
    t = np.roll(np.arange(32767, -32769, -1), place).astype(np.int16)
    got = probabilities(t)
    assert got.dtype == np.uint8
    assert got.tolist() == scalar.prob(t.tolist())
    # From u = 416 on nothing is left; one LSB may be, at the keys whose dither is largest, from u = 256 on.
    assert not np.roll(got, -place)[13 * 32 :].any()


def test_dither_is_the_bits_reversed() -> None:
    assert dither(7).tolist() == [0, 16, 8, 24, 4, 20, 12]
    assert sorted(dither(32)) == list(range(32)) and dither(70)[32:64].tolist() == dither(32).tolist()


def test_what_many_keys_lose_others_gain() -> None:
    """Of 32 neighbours with equal scores the sum is exact: that of 32·p, wherever they begin."""
    for begin in (1, 5, 32):
        for u in range(14 * 32):
            t = np.full(begin + 32, -u, np.int16)
            t[0] = 0
            got = probabilities(t)[begin:].sum()
            assert got == scalar.tables.EXP[u % 32] >> u // 32


def test_probabilities_of_equal_and_extreme_scores() -> None:
    assert probabilities(np.full((2, 3), -32768, np.int16)).tolist() == [[255] * 3] * 2
    assert probabilities(np.array([-32768, 32767, 32767, 32735], np.int16)).tolist() == [0, 255, 255, 128]
    # 127.5: half of the keys round up, from the second on every other.
    assert probabilities(np.array([32735, 32735, 32735, 32767], np.int16)).tolist() == [127, 128, 127, 255]


@pytest.mark.parametrize(("mult", "shift"), [(65535, 24), (65535, 0), (1, 47), (40000, 23), (0, 5)])
def test_weigh(mult: int, shift: int) -> None:
    rng = np.random.default_rng(shift)
    n, d = 9, 5
    p = rng.integers(0, 256, (n, n)).astype(np.uint8)
    p[np.arange(n), np.arange(n)] = 255
    p[0], p[1, 1:], p[1, 0] = 255, 0, 255
    v = rng.integers(-128, 128, (n, d)).astype(np.int8)
    v[:, 0], v[:, 1] = -128, 127
    got = weigh(p[None], v[None], Scale(mult=mult, shift=shift))[0]
    for i in range(n):
        m = (2**24 // int(p[i].astype(int).sum()) * mult) >> 16
        want = [scalar.sat9(scalar.rnd(scalar.dot(p[i].tolist(), v[:, c].tolist()) * m, shift)) for c in range(d)]
        assert got[i].tolist() == want


@pytest.mark.parametrize(("heads", "head_dim", "tokens", "dim"), [(1, 8, 1, 4), (3, 5, 7, 11), (2, 16, 10, 32)])
@pytest.mark.parametrize(("score_shift", "x_shift"), [(8, 0), (18, 1), (24, 3)])
def test_attention(heads: int, head_dim: int, tokens: int, dim: int, score_shift: int, x_shift: int) -> None:
    rng = np.random.default_rng(dim)
    a = heads * head_dim
    tensors: dict[str, np.ndarray] = {}
    for part, (outputs, inputs) in {"q": (a, dim), "k": (a, dim), "v": (a, dim), "proj": (dim, a)}.items():
        tensors[f"a.{part}.weight"] = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        tensors[f"a.{part}.bias"] = rng.integers(-5000, 5000, outputs).astype(np.int32) * (part != "k")
        tensors[f"a.{part}.mult"] = rng.integers(1 << 15, 1 << 16, outputs).astype(np.uint16)
        tensors[f"a.{part}.shift"] = np.full(outputs, 12 if part == "proj" else 25, np.uint8)
    for part, shift in {"score": score_shift, "context": 24}.items():
        tensors |= {f"a.{part}.mult": np.array([50000], np.uint16), f"a.{part}.shift": np.array([shift], np.uint8)}
    x = rng.integers(-32768, 32768, (2, tokens, dim)).astype(np.int16)
    y = rng.integers(-255, 256, (2, tokens, dim)).astype(np.int16)
    got = Attention.load(tensors, "a", heads, x_shift)(x, y)
    for b in range(2):
        want = scalar.attention(tensors, "a", heads, x[b].tolist(), y[b].tolist(), x_shift)
        assert {name: tensor[b].tolist() for name, tensor in got.items()} == want
