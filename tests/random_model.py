"""The random descriptions of `hwgen verify`, and one that many tests are built on."""

from __future__ import annotations

from typing import Any

from hwgen.network.description import Description
from hwgen.verify.networks import random_description, random_images

__all__ = ["TASKS", "random_description", "random_images", "small_description"]

#: Of `small_description`.
TASKS = [
    {"name": "digit", "head": "class_token", "outputs": 5, "norm": True},
    {"name": "segment", "head": "every_token", "outputs": 6, "norm": False},
]


def small_description(**overrides: Any) -> Description:
    """Two tasks, a dense layer and a mixture of experts: small enough for the slower simulators."""
    layers = [
        {"mlp": {"kind": "dense", "hidden": 9}},
        {"mlp": {"kind": "moe", "experts": 4, "hidden": 7, "top_k": 2, "gate": "softmax_topk"}},
    ]
    return random_description(
        3, tasks=TASKS, layers=layers, class_token=True, image={"height": 4, "width": 6, "channels": 1},
        patch={"height": 2, "width": 2}, dim=10, heads=2, head_dim=5, **overrides,
    )  # fmt: skip
