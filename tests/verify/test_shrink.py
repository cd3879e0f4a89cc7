"""Minimising: ends at what is to blame and nothing else; tensors are cut, not drawn anew."""

import numpy as np
import pytest

from hwgen.network.description import check
from hwgen.verify.draw import Case
from hwgen.verify.networks import random_description, random_images
from hwgen.verify.shrink import shrunk, smaller
from sim.job import Timing


@pytest.fixture
def case() -> Case:
    """Three layers, several tasks, experts and gated MLPs, in front of a slow memory."""
    seed = next(seed for seed in range(100, 300) if _rich(random_description(seed).model))
    network = random_description(seed)
    return Case(0, network, random_images(network, 6, 1), 3, Timing(200, 40, 9, jitter=5, weight_latency=(1, 2)))


def _rich(model):
    kinds = [layer.mlp.kind for layer in model.layers]
    return kinds == ["dense", "moe", "moe"] and len(model.tasks) > 1 and model.weight_bits


def test_only_what_fails_remains(case):
    """An expert's MLP with at least two of three experts fails: of everything else the least is left."""
    seen = []

    def fails(one):
        check(one.network)
        seen.append(one)
        return any(layer.mlp.kind == "moe" and layer.mlp.experts > 2 for layer in one.network.model.layers)

    least = shrunk(case, fails)
    model = least.network.model
    assert len(model.layers) == len(model.tasks) == 1 and model.layers[0].mlp.experts == 3
    assert model.dim == model.heads == model.head_dim == model.layers[0].mlp.hidden == model.patches == 1
    assert not model.weight_bits and not model.qk_norm and not model.register_tokens
    assert len(least.images) == least.batch == 1
    assert (least.timing.stall_percent, least.timing.jitter, least.timing.weight_latency) == (0, 0, ())
    assert least.timing.seed == 9 and len(seen) < 300


def test_what_is_to_blame_for_its_values(case):
    """A weight of the second expert layer survives, under its layer's new name."""
    name = next(name for name in case.network.tensors if name.startswith("layers.2.") and name.endswith("fc1.weight"))
    value = case.network.tensors[name].ravel()[0]

    def fails(one):
        last = len(one.network.model.layers) - 1
        there = one.network.tensors.get(name.replace("layers.2", f"layers.{last}"))
        return there is not None and there.ravel()[0] == value

    model = shrunk(case, fails).network.model
    assert len(model.layers) == 1 and model.layers[0].mlp.kind == "moe"


def test_tries_end(case):
    seen = []
    assert shrunk(case, lambda one: bool(seen.append(one)), tries=7) is case and len(seen) == 7
    assert shrunk(case, lambda one: False) is case


def test_all_are_smaller_and_valid(case):
    for one in smaller(case):
        check(one.network)
        image = one.network.model.image
        assert one.images.shape[1:] == (image.height, image.width, image.channels)
        assert len(one.images) % one.batch == 0
        assert sum(t.size for t in one.network.tensors.values()) <= sum(t.size for t in case.network.tensors.values())
        assert np.iinfo(one.images.dtype).max == 255
