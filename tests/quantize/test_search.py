"""The search for layers that take four bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.network.description import Description
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.layers import linear_layers
from hwgen.quantize.options import Options
from hwgen.quantize.pipeline import quantize_network
from hwgen.quantize.search import Noise, mean_bits
from tests.quantize.helpers import decibels, quantized, random_network
from tests.random_model import random_images

MOE = {"mlp": {"kind": "moe", "experts": 3, "hidden": 30, "top_k": 2, "gate": "softmax_topk"}}
TASKS = [{"name": "a", "head": "mean", "outputs": 7, "norm": True},
         {"name": "b", "head": "every_token", "outputs": 4, "norm": False}]  # fmt: skip


@pytest.fixture(scope="module")
def network() -> FloatModel:
    return random_network(3, layers=[{"mlp": {"kind": "dense", "hidden": 48}}, MOE], tasks=TASKS, dim=32)


@pytest.fixture(scope="module")
def images(network: FloatModel) -> np.ndarray:
    return random_images(Description(network.model, {}), 24, 1)


def bits(description: Description) -> dict[str, int]:
    return dict.fromkeys(linear_layers(description.model), 8) | description.model.weight_bits


@pytest.mark.parametrize("wanted", [4.5, 6.0, 7.25, 8.0])
def test_budget_is_kept_and_used(network: FloatModel, images: np.ndarray, wanted: float) -> None:
    description = quantized(network, images, mean_bits=wanted)
    sizes, found = linear_layers(network.model), bits(description)
    assert mean_bits(sizes, found) <= wanted
    for name, layer_bits in found.items():
        if layer_bits == 4:  # none could have its eight bits back
            assert mean_bits(sizes, found | {name: 8}) > wanted
    assert not any(".gate." in name for name in description.model.weight_bits)


def test_it_is_better_than_other_choices_of_the_same_size(network: FloatModel, images: np.ndarray) -> None:
    def quality(description: Description) -> float:
        return float(np.mean([decibels(network, description, images, task)[f"{task}.output"] for task in ("a", "b")]))

    found = bits(quantized(network, images, mean_bits=6.0))
    sizes = linear_layers(network.model)
    names = [name for name in sizes if ".gate." not in name]
    rng = np.random.default_rng(0)
    others = []
    for order in [rng.permutation(names) for _ in range(6)]:
        other = dict.fromkeys(sizes, 8)
        for name in order:
            if mean_bits(sizes, other) > 6:
                other[str(name)] = 4
        others.append(other)
    mine, *theirs = (
        quality(quantized(network, images, weight_bits={name: 4 for name in choice if choice[name] == 4}))
        for choice in (found, *others)
    )
    assert mine > max(theirs) and mine > np.mean(theirs) + 2


def test_patterns_stay_as_they_are(network: FloatModel, images: np.ndarray) -> None:
    fixed: dict[str, Any] = {"embed": 4, "*.fc2": 8, "tasks.*": 8}
    found = bits(quantized(network, images, mean_bits=6.0, weight_bits=fixed))
    assert found["embed"] == 4
    assert all(found[name] == 8 for name in found if name.endswith(("fc2", "head")))


def test_progress_names_every_layer_and_the_result(network: FloatModel, images: np.ndarray) -> None:
    lines: list[str] = []
    description = quantize_network(network, images, Options(mean_bits=6), lines.append)
    count = len(linear_layers(network.model)) - 2  # but the gates
    assert lines[2] == f"searching bits: embed, 1 of {count}"
    four = len(description.model.weight_bits)
    assert lines[-1].endswith(f" bits per weight: {four} of {count + 2} layers have four")
    assert len(lines) == 2 + count + 1


def test_budget_out_of_reach(network: FloatModel, images: np.ndarray) -> None:
    lines: list[str] = []
    with pytest.raises(HwgenError) as caught:
        quantize_network(network, images, Options(mean_bits=4.1, weight_bits={"*.fc?": 8}), lines.append)
    assert not lines  # before calibration
    assert caught.value.text().startswith("options: mean_bits\n  expected: at least ")
    assert (
        ", as some layers keep eight bits\n  found:    4.1\n  mend:     raise it, or name fewer" in caught.value.text()
    )


def test_noise_of_a_layer_is_that_of_its_changed_weights(network: FloatModel, images: np.ndarray) -> None:
    noise = Noise(network, images[:4])
    changes = {
        "embed": "embed",
        "layers.0.attn.v": "l0.qkv",
        "layers.1.moe.experts.2.fc1": "l1.e2.fc1",
        "tasks.b.head": "head1",
    }
    for name, source in changes.items():
        rows = slice(2 * network.model.attn_dim, None) if name.endswith("v") else slice(None)
        weight, bias = (network.tensors[f"{source}.{part}"][rows] for part in "wb")
        assert noise.of(name, weight, bias) < 1e-10
        changed = {key: tensor.copy() for key, tensor in network.tensors.items()}
        changed[f"{source}.w"][rows] *= 1.1
        other = FloatModel(
            network.model, changed, eps=1e-6, mean=list(network.mean), std=list(network.std), dtype=np.float64
        )
        wanted = 0.0
        for task in ("a", "b"):
            exact = network.run(images[:4], task)
            wanted += float(((other.run(images[:4], task) - exact) ** 2).sum() / (exact**2).sum())
        assert noise.of(name, weight * 1.1, bias) == pytest.approx(wanted, rel=0.02), name
        assert noise.of(name, weight, bias) < 1e-10  # restored
