"""What few networks have: each intermediate tensor of the quantized network against the float one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.quantize.helpers import decibels, quantized, random_network
from tests.random_model import random_images

SIZES: dict[str, Any] = {
    "dim": 48, "heads": 3, "head_dim": 16, "image": {"height": 24, "width": 32, "channels": 3},
    "patch": {"height": 4, "width": 4}, "class_token": True,
    "layers": [{"mlp": {"kind": "dense", "hidden": 96, "activation": "gelu"}}] * 2,
    "tasks": [{"name": "a", "head": "class_token", "outputs": 20, "norm": True}],
}  # fmt: skip


def noise(**changes: Any) -> dict[str, float]:
    """SQNR in dB by tensor, of images other than the calibration's."""
    network = random_network(5, **(SIZES | changes))
    images = [random_images(network, count, seed) for count, seed in ((32, 1), (16, 2))]
    return decibels(network, quantized(network, images[0]), images[1], "a")


@pytest.fixture(scope="module")
def usual() -> dict[str, float]:
    """Of a network without any of it."""
    return noise()


def test_register_tokens(usual: dict[str, float]) -> None:
    found = noise(register_tokens=4)
    assert found.keys() == usual.keys()
    assert all(found[name] > usual[name] - 1.5 for name in usual), (found, usual)


def test_norm_before_the_layers(usual: dict[str, float]) -> None:
    """Nine bits, as behind every norm; what follows has no more than that of the stream."""
    found = noise(norm_pre=True)
    assert found.keys() == usual.keys() | {"norm_pre", "stream"}
    assert found["norm_pre"] > usual["layers.0.norm1"] - 2 and found["stream"] > found["norm_pre"] - 0.5
    assert all(found[name] > usual[name] - 4 for name in usual), (found, usual)


def test_normalised_q_and_k(usual: dict[str, float]) -> None:
    found = noise(qk_norm=True)
    projected = {f"layers.{index}.{part}_proj" for index in range(2) for part in "qk"}
    assert found.keys() == usual.keys() | projected
    assert all(found[name] > usual["layers.0.q"] - 1.5 for name in projected)
    assert all(found[name] > usual[name] - 2 for name in usual), (found, usual)
