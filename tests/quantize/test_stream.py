"""Fraction bits of the residual stream: the most that room and the hardware's shifts allow."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from hwgen.network.description import MAX_FALL, Model
from hwgen.quantize.observers import Observer
from hwgen.quantize.stream import HEADROOM, stream_bits
from tests.random_model import random_description

DENSE = {"mlp": {"kind": "dense", "hidden": 10}}
MOE = {"mlp": {"kind": "moe", "experts": 3, "hidden": 6, "top_k": 2, "gate": "softmax_topk"}}
PLACES = ("embed", "layers.0.attn", "layers.0.mlp", "layers.1.attn", "layers.1.mlp")


def model(first: dict, second: dict) -> Model:
    return random_description(1, layers=[first, second]).model


def bits_for(peaks: list[float], of: Model) -> list[int]:
    """For streams whose largest magnitudes are these."""
    seen = {}
    for place, value in zip(PLACES, peaks, strict=True):
        seen[place] = Observer(3)
        seen[place].see(np.array([[0.1, -value, 0.2], [0, value / 2, 0]]))
    return stream_bits(of, seen)


@pytest.mark.parametrize("layers", [(DENSE, DENSE), (DENSE, MOE), (MOE, DENSE), (MOE, MOE)])
def test_as_many_as_room_and_shifts_allow(layers: tuple[dict, dict]) -> None:
    """Of all lists that are legal and fit, the one that is largest everywhere."""
    of, rng = model(*layers), np.random.default_rng(0)
    falls = [MAX_FALL, 0 if layers[0] is MOE else MAX_FALL, MAX_FALL, 0 if layers[1] is MOE else MAX_FALL]
    lists = [
        bits
        for bits in product(range(3, 10), repeat=5)
        if all(0 <= a - b <= fall for (a, b), fall in zip(pairwise(bits), falls, strict=True))
    ]
    for _ in range(60):
        room = rng.integers(3, 10, 5)
        fitting = np.array([bits for bits in lists if (np.array(bits) <= room).all()])
        peaks = [32767 / HEADROOM / 2.0**bits * rng.uniform(0.51, 0.999) for bits in room]
        assert bits_for(peaks, of) == fitting.max(0).tolist() and fitting.max(0).tolist() in fitting.tolist()


def test_ends_of_the_range() -> None:
    of = model(DENSE, DENSE)
    assert bits_for([1e-6] * 5, of) == [15] * 5
    assert bits_for([1e-6, 1e-6, 1e-6, 1e-6, 1e5], of) == [12, 9, 6, 3, 0]
