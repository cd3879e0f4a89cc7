"""Accuracy and mean intersection over union."""

from __future__ import annotations

import runpy

import numpy as np
import pytest

from hwgen.evaluate.quality import evaluate, quality
from hwgen.network.description import load
from hwgen.quantize import float_network
from tests.paths import MNIST


def test_quality_counts_by_hand() -> None:
    outputs = np.array([[[3, 1, 0]], [[5, 5, 0]], [[0, 9, 1]], [[0, 9, 1]]])  # classes 0, 0 (a tie), 1, 1
    found = quality(outputs, np.array([[0], [1], [1], [1]]))
    assert found.accuracy == 0.75
    assert found.miou == pytest.approx((1 / 2 + 2 / 3) / 2)  # class 2 neither occurs nor is predicted


def test_example_accuracy_on_500_images() -> None:
    images, labels = runpy.run_path(str(MNIST / "evaluate.py"))["labelled_images"](500)
    network = float_network(MNIST / "quantize.yaml")
    found = evaluate(load(MNIST / "model"), images, labels)
    for task, wanted in labels.items():
        reference = quality(network.run(images, task), wanted)
        assert found[task].accuracy >= reference.accuracy - 0.004, task
        assert found[task].miou >= reference.miou - 0.005, task
        assert reference.accuracy > 0.98, task
