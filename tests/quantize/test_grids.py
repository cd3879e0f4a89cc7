"""Grids read off a description: what the codes stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwgen.network.description import Description
from hwgen.quantize.grids import grids
from tests.quantize.helpers import PLAIN, decibels, quantized, random_network
from tests.random_model import random_images

DENSE = {"mlp": {"kind": "dense", "hidden": 50}}
MOE = {"mlp": {"kind": "moe", "experts": 4, "hidden": 30, "top_k": 2, "gate": "softmax_topk"}}
GATED = {"mlp": {"kind": "dense", "hidden": 50, "gated": True, "activation": "silu"}}
TASK = {"name": "a", "head": "none", "norm": True}
HEADS = [
    ("class_token", True),
    ("mean", True),
    ("mean", False),
    ("mean_norm", True),
    ("every_token", False),
    ("none", True),
]


@pytest.mark.parametrize(("head", "norm"), HEADS)
@pytest.mark.parametrize("options", [PLAIN, {}], ids=["plain", "default"])
def test_codes_are_near_the_float_tensors(head: str, norm: bool, options: dict[str, Any]) -> None:
    task = {"name": "a", "head": head, "norm": norm} | ({} if head == "none" else {"outputs": 5})
    network = random_network(2, layers=[DENSE, MOE], tasks=[task], class_token=True, dim=40)
    images = random_images(Description(network.model, {}), 24, 0)
    found = decibels(network, quantized(network, images, **options), images, "a")
    parts = ("norm1", "q", "k", "v", "context", "attn", "norm2")
    assert found.keys() >= {"embed", "a.output", "layers.0.hidden"} | {
        f"layers.{i}.{part}" for i in (0, 1) for part in parts
    }
    assert ("a.pool" in found) == (head == "mean_norm") and ("a.mean" in found) == (head == "mean")
    for name, value in found.items():
        assert value > (30 if name.startswith(("layers.0", "embed")) else 22), f"{name} {value:.1f} dB"


@pytest.mark.parametrize("options, least", [(PLAIN, 29), ({}, 31), ({"ranges": "mse"}, 31)])
def test_gated(options: dict[str, Any], least: float) -> None:
    """The product and what it is one of have steps of each channel."""
    network = random_network(2, layers=[GATED, GATED], tasks=[TASK], dim=40)
    images = random_images(Description(network.model, {}), 24, 0)
    found = decibels(network, quantized(network, images, **options), images, "a")
    for name in (f"layers.{i}.{part}" for i in (0, 1) for part in ("up", "hidden", "mlp")):
        assert found[name] > least, f"{name} {found[name]:.1f} dB"


def test_plain_grids_are_the_descriptions_scales() -> None:
    network = random_network(2, layers=[MOE], tasks=[{"name": "a", "head": "none", "norm": True}])
    description = quantized(network, random_images(Description(network.model, {}), 8, 0), **PLAIN)
    found, scales = grids(network, description), description.model.scales
    for name in ("layers.0.norm1", "layers.0.norm2", "layers.0.q", "layers.0.k", "layers.0.v", "layers.0.context"):
        np.testing.assert_allclose(found[name].step, scales[name], rtol=1e-2)
        assert (np.abs(found[name].centre) < found[name].step).all()
    assert not found["layers.0.q"].centre.any()
    for expert in range(4):
        hidden = found[f"layers.0.expert.{expert}.hidden"]
        assert hidden.step == scales[f"layers.0.moe.experts.{expert}.hidden"]
    np.testing.assert_allclose(found["a.norm"].step, scales["tasks.a.norm"], rtol=5e-3)
    assert found["a.output"] == found["a.norm"]


def test_channel_without_gain_is_its_beta() -> None:
    network = random_network(2, layers=[DENSE], tasks=[{"name": "a", "head": "none", "norm": True}], dim=24)
    network.tensors["l0.n1.g"][5] = 0
    images = random_images(Description(network.model, {}), 8, 0)
    description = quantized(network, images)
    grid = grids(network, description)["layers.0.norm1"]
    assert np.isfinite(grid.step).all() and np.isfinite(grid.centre).all()
    assert decibels(network, description, images, "a")["layers.0.norm1"] > 30
