"""A random float network with every head, its description and their report."""

import numpy as np
import pytest

from hwgen.evaluate.report import Report, report
from hwgen.network.description import Description
from hwgen.network.floatmodel import FloatModel, expected_checkpoint
from hwgen.quantize.options import Options
from hwgen.quantize.pipeline import quantize_network
from tests.random_model import random_description, random_images

LAYERS = [
    {"mlp": {"kind": "dense", "hidden": 40}},
    {"mlp": {"kind": "moe", "experts": 4, "hidden": 24, "top_k": 2, "gate": "topk_softmax"}},
]
TASKS = [
    {"name": "one", "head": "class_token", "outputs": 6, "norm": True},
    {"name": "other", "head": "distillation_token", "outputs": 6, "norm": True},
    {"name": "pooled", "head": "mean_norm", "outputs": 6, "norm": True},
    {"name": "mean", "head": "mean", "outputs": 3, "norm": False},
    {"name": "map", "head": "every_token", "outputs": 5, "norm": True},
    {"name": "raw", "head": "none", "norm": False},
]


def quiet(line: str) -> None:
    """No progress."""


@pytest.fixture(scope="session")
def made() -> tuple[FloatModel, Description, np.ndarray]:
    """A random float network with every head, its description, and images that it was not calibrated on."""
    desc = random_description(
        11, class_token=True, distillation_token=True, layers=LAYERS, tasks=TASKS, dim=32, heads=2, head_dim=16,
        image={"height": 12, "width": 15, "channels": 3}, patch={"height": 3, "width": 3},
    )  # fmt: skip
    rng = np.random.default_rng(2)
    tensors = {}
    for name, shape in expected_checkpoint(desc.model).items():
        spread = 0.2 if len(shape) == 1 else 0.4 if name in ("pos", "cls", "dist") else shape[1] ** -0.5
        tensors[name] = rng.normal(name.endswith(".g"), spread, shape)
    network = FloatModel(desc.model, tensors, eps=1e-6, mean=[120.0] * 3, std=[60.0] * 3, dtype=np.float64)
    description = quantize_network(network, random_images(desc, 64, 1), Options(), quiet)
    return network, description, random_images(desc, 12, 2)


@pytest.fixture(scope="session")
def found(made: tuple[FloatModel, Description, np.ndarray]) -> Report:
    return report(*made)
