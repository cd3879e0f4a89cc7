"""The small description of these tests, and what `load` says of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwgen.common.errors import HwgenError
from hwgen.network.description import Description, load
from tests.random_model import random_description

LAYERS = [
    {"mlp": {"kind": "dense", "hidden": 10}},
    {"mlp": {"kind": "moe", "experts": 3, "hidden": 6, "top_k": 2, "gate": "softmax_topk"}},
]
TASKS = [
    {"name": "digit", "head": "class_token", "outputs": 4, "norm": True},
    {"name": "shape", "head": "mean", "outputs": 5, "norm": False},
    {"name": "raw", "head": "none", "norm": False},
]


def small() -> Description:
    """A fixed small description: 2 x 3 patches of 3 x 4 x 2 values, two heads of 5, D = 9."""
    return random_description(
        0, image={"height": 6, "width": 12, "channels": 2}, patch={"height": 3, "width": 4}, dim=9, heads=2, head_dim=5,
        class_token=True, layers=LAYERS, tasks=TASKS, scales={"layers.0.q": 0.031, "a": 1e-7},
    )  # fmt: skip


def load_error(path: Path) -> str:
    """The message of loading, with the directory shortened."""
    with pytest.raises(HwgenError) as caught:
        load(path)
    return caught.value.text().replace(str(path if path.is_dir() else path.parent), "DIR")
