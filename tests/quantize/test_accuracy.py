"""Figures of docs/quantization.md on the trained example and on networks of DeiT's sizes; minutes."""

from __future__ import annotations

import runpy
import time
from functools import cache

import numpy as np
import pytest

from hwgen.common.strict_yaml import read_yaml
from hwgen.evaluate.quality import evaluate, quality
from hwgen.network.description import parse_model
from hwgen.network.floatmodel import FloatModel, expected_checkpoint
from hwgen.quantize import float_network
from hwgen.quantize.options import option_strings
from hwgen.quantize.pipeline import quantize_network
from tests.paths import EXAMPLES
from tests.quantize.helpers import decibels, quantized

MNIST = runpy.run_path(str(EXAMPLES / "mnist_m3vit" / "evaluate.py"))

pytestmark = pytest.mark.slow


@cache
def float_accuracy() -> dict[str, float]:
    """Of each task on all test images."""
    images, labels = MNIST["labelled_images"]()
    network = float_network(EXAMPLES / "mnist_m3vit" / "quantize.yaml")
    return {task: quality(network.run(images, task), wanted).accuracy for task, wanted in labels.items()}


@pytest.mark.parametrize("method", MNIST["METHODS"])
def test_mnist_keeps_its_accuracy_on_all_images(method: str) -> None:
    """Within 0.10 points of float; with four-bit experts within 0.5; with four bits everywhere still a network."""
    images, labels = MNIST["labelled_images"]()
    network = float_network(EXAMPLES / "mnist_m3vit" / "quantize.yaml", dtype=np.float64)
    options = option_strings(MNIST["METHODS"][method])
    description = quantize_network(network, MNIST["calibration_images"](), options, lambda line: None)
    found = evaluate(description, images, labels)
    points = 1.0 if options.weight_bits.get("*") else 0.5 if options.weight_bits or options.mean_bits else 0.1
    for task, wanted in float_accuracy().items():
        assert found[task].accuracy >= wanted - points / 100, task


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


def test_logits_of_an_untrained_deit_tiny() -> None:
    network = untrained("deit_tiny")
    description = quantized(network, noise_images(16, 1))
    assert decibels(network, description, noise_images(4, 2), "classify")["classify.output"] >= 27


def test_deit_small_takes_less_than_five_minutes() -> None:
    start = time.process_time()
    quantized(untrained("deit_small"), noise_images(32, 1))
    assert time.process_time() - start < 300
