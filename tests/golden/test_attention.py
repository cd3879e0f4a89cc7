"""Softmax and attention against Python integers."""

import numpy as np
import pytest

from golden.attention import Attention, probabilities, weigh
from golden.linear import Scale
from tests.golden import scalar


def test_probabilities_every_u() -> None:
    t = np.arange(32767, -32769, -1).astype(np.int16)
    got = probabilities(t)
    assert got.dtype == np.uint8
    assert got.tolist() == scalar.prob(t.tolist())
    assert not got[288:].any() and (np.diff(got.astype(int)) <= 0).all()


def test_probabilities_of_equal_and_extreme_scores() -> None:
    assert probabilities(np.full((2, 3), -32768, np.int16)).tolist() == [[255] * 3] * 2
    assert probabilities(np.array([-32768, 32767, 32767, 32735], np.int16)).tolist() == [0, 255, 255, 128]


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
        want = [scalar.sat(scalar.rnd(scalar.dot(p[i].tolist(), v[:, c].tolist()) * m, shift), 8) for c in range(d)]
        assert got[i].tolist() == want


@pytest.mark.parametrize(("heads", "head_dim", "tokens", "dim"), [(1, 8, 1, 4), (3, 5, 7, 11), (2, 16, 10, 32)])
@pytest.mark.parametrize("score_shift", [8, 18, 24])
def test_attention(heads: int, head_dim: int, tokens: int, dim: int, score_shift: int) -> None:
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
    y = rng.integers(-128, 128, (2, tokens, dim)).astype(np.int8)
    got = Attention.load(tensors, "a", heads)(x, y)
    for b in range(2):
        want = scalar.attention(tensors, "a", heads, x[b].tolist(), y[b].tolist())
        assert {name: tensor[b].tolist() for name, tensor in got.items()} == want
