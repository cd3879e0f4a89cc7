"""A random float network, and signal to noise of a description's tensors."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from golden.mlp import joined
from golden.model import Golden
from hwgen.common.strict_yaml import read_yaml
from hwgen.network.description import Description, parse_model
from hwgen.network.floatmodel import FloatModel, expected_checkpoint
from hwgen.quantize.grids import grids
from hwgen.quantize.options import Options
from hwgen.quantize.pipeline import quantize_network
from tests.importers.moe_models import COLUMNS, PATCH, ROWS, state_dict
from tests.paths import EXAMPLES, MNIST
from tests.random_model import random_description, random_images

DENSE = {"mlp": {"kind": "dense", "hidden": 50}}
GATED = {"mlp": {"kind": "dense", "hidden": 50, "gated": True}}
MOE = {"mlp": {"kind": "moe", "experts": 5, "hidden": 30, "top_k": 2, "gate": "topk_softmax"}}
MEAN = {"name": "a", "head": "mean", "outputs": 3, "norm": True}
#: Tensors of a checkpoint that have tokens in their rows.
TOKENS = ("pos", "cls", "dist", "reg")
#: The trained example: its images with labels, and the methods of docs/quantization.md.
EVALUATE = runpy.run_path(str(MNIST / "evaluate.py"))
#: The first version's choices.
PLAIN: dict[str, Any] = {"ranges": "minmax", "repq": False, "equalize": False, "rounding": "nearest"}


def random_network(seed: int, **structure: Any) -> FloatModel:
    """Float64, of the structure of `random_description`, with gains and biases that differ between channels."""
    rng = np.random.default_rng(seed)
    model = random_description(seed, **structure).model
    tensors = {}
    for name, shape in expected_checkpoint(model).items():
        if name.endswith(".g"):
            tensors[name] = rng.normal(1, 0.4, shape)
        elif len(shape) == 1:
            tensors[name] = rng.normal(0, 0.3, shape)
        else:
            tensors[name] = rng.normal(0, 1, shape) * (0.4 if name in TOKENS else shape[1] ** -0.5)
    channels = model.image.channels
    return FloatModel(model, tensors, eps=1e-6, mean=[120.0] * channels, std=[60.0] * channels, dtype=np.float64)


def quantized(network: FloatModel, images: np.ndarray, **options: Any) -> Description:
    """The description by these options, without a word."""
    return quantize_network(network, images, Options(**options), lambda line: None)


def decibels(network: FloatModel, description: Description, images: np.ndarray, task: str) -> dict[str, float]:
    """SQNR in dB of every tensor that both networks have for all tokens."""
    wanted: dict[str, list[np.ndarray]] = {}
    network.run(images, task, lambda name, value: wanted.setdefault(name, []).append(value))
    found = Golden(description).run(images, task, keep=True).tensors
    result = {}
    for name, grid in grids(network, description).items():
        if name not in wanted or not isinstance(found.get(name), np.ndarray):
            continue
        exact, codes = np.concatenate(wanted[name]), found[name]
        layer, _, kind = name.rpartition(".")
        windows = description.tensors.get(f"{layer}.mlp.activation.windows")
        if kind == "hidden" and windows is not None:
            codes = joined(codes, windows)
        if exact.shape == codes.shape:
            noise = codes * grid.step + grid.centre - exact
            result[name] = 10 * float(np.log10((exact**2).sum() / (noise**2).sum()))
    return result


def write_m3vit(directory: Path) -> Path:
    """An M3ViT checkpoint m3vit.npz and four images images.npz; returns their directory."""
    np.savez(directory / "m3vit.npz", **state_dict())
    shape = (4, ROWS * PATCH, COLUMNS * PATCH, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(directory / "images.npz", images=images)
    return directory


def m3vit_job(directory: Path, **changes: Any) -> Path:
    """quantize.yaml of `write_m3vit`'s checkpoint, with these keys changed (None: left out)."""
    config = {
        "format": "m3vit", "checkpoint": "m3vit.npz", "calibration": "images.npz", "name": "city", "heads": 4,
        "top_k": 2, "image_size": {"height": 8, "width": 12}, "normalize": {"mean": [127.5] * 3, "std": [60.0] * 3},
        "options": {"ranges": "minmax", "weight_bits": {"layers.0.mlp.fc1": 4}},
        "tasks": [{"name": "semseg"}, {"name": "depth"}],
    }  # fmt: skip
    path = directory / "quantize.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (config | changes).items() if value is not None}))
    return path


def write_random_network(directory: Path, seed: int, **overrides: Any) -> Path:
    """A random float checkpoint with calibration images and its quantize.yaml; returns the YAML."""
    rng = np.random.default_rng(seed)
    description = random_description(seed, **overrides)
    model = description.model
    tensors = {}
    for name, shape in expected_checkpoint(model).items():
        if name.endswith(".g"):
            values = rng.normal(1, 0.2, shape)
        elif len(shape) == 1:
            values = rng.normal(0, 0.1, shape)
        elif name in TOKENS:
            values = rng.normal(0, 0.4, shape)
        else:
            values = rng.normal(0, shape[1] ** -0.5, shape)
        tensors[name] = values.astype(np.float32)
    np.savez(directory / "float.npz", allow_pickle=False, **tensors)
    np.savez(directory / "calibration.npz", images=random_images(description, 64, seed))
    channels = model.image.channels
    config = {
        "name": "random", "checkpoint": "float.npz", "calibration": "calibration.npz",
        **model.model_dump(include={"image", "patch", "heads", "head_dim", "class_token"}),
        "normalize": {"mean": [100.0, 120.0, 140.0][:channels], "std": [60.0, 70.0, 50.0][:channels]},
        "layer_norm_eps": 1e-6, "moe": {"top_k": 2, "gate": "topk_softmax"},
        "tasks": [task.model_dump(include={"name", "head", "norm"}) for task in model.tasks],
    }  # fmt: skip
    path = directory / "quantize.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def untrained(name: str) -> FloatModel:
    """An example's structure with timm's initialisation: normal weights of 0.02, cut at two deviations; zero biases."""
    model = parse_model(read_yaml(EXAMPLES / name / "model.yaml"), name)
    rng, tensors = np.random.default_rng(0), {}
    for key, shape in expected_checkpoint(model).items():
        start = {"g": np.ones, "b": np.zeros}.get(key.rpartition(".")[2])
        tensors[key] = start(shape) if start else np.clip(rng.normal(0, 0.02, shape), -0.04, 0.04)
    return FloatModel(model, tensors, eps=1e-6, mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], dtype=np.float64)


def noise_images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3)).astype(np.uint8)
