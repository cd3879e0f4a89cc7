"""A tensor's figures, counted by hand."""

import numpy as np
import pytest

from golden.model import Golden
from hwgen.evaluate.report.tensors import LIMITS, WATCHED, Tensor
from hwgen.quantize.steps import Grid
from tests.random_model import random_description, random_images


def test_tensor_of_known_values() -> None:
    """Codes of two channels, one with steps of 2 around 10; clipped is what lies beyond a code's half step."""
    first, second = (Tensor(Grid(step=np.array([1.0, 2.0]), centre=np.array([0.0, 10.0])), (-255, 255)) for _ in "12")
    first.see(np.array([[255.4, -503.2], [0, 10], [-3, 30]]), np.array([[255, -255], [0, 0], [-3, 10]], np.int16))
    second.see(np.array([[[255.6, 521.2]], [[-255.6, 20]]]), np.array([[[255, 255]], [[-255, 5]]], np.int16))
    tensor = Tensor(first.grid, first.limits)
    tensor.add(first)
    tensor.add(second)
    row = tensor.as_dict()
    assert row["clipped_share"] == 4 / 10
    assert (row["float_range"], row["code_range"]) == ([-503.2, 521.2], [-255, 255])
    clipped = 3.2**2 + 0.6**2 + 1.2**2 + 0.6**2
    noise = 0.4**2 + clipped
    assert row["clipped_error_share"] == pytest.approx(clipped / noise)
    signal = sum(value**2 for value in (255.4, 503.2, 10, 3, 30, 255.6, 521.2, 255.6, 20))
    assert row["sqnr_db"] == pytest.approx(10 * np.log10(signal / noise))
    assert row["largest_channel_ratio"] == pytest.approx(521.2 / np.mean([255.6, 521.2])) and not row["outliers"]


def test_limits_are_those_of_the_golden_model() -> None:
    """Loud models saturate every kind of tensor at its ends; nothing lies beyond."""
    low, high = dict.fromkeys(LIMITS, 0), dict.fromkeys(LIMITS, 0)
    tasks = [{"name": "a", "head": "mean_norm", "norm": True, "outputs": 5},
             {"name": "b", "head": "mean", "norm": True, "outputs": 5},
             {"name": "c", "head": "map", "norm": True, "mlp": {"kind": "dense", "hidden": 9}}]  # fmt: skip
    gated = {"mlp": {"kind": "dense", "hidden": 20, "gated": True}}
    for seed in range(5):
        layers = {"layers": [gated]} if seed == 3 else {}
        desc = random_description(seed, gain=300.0, tasks=tasks, norm_pre=seed > 1, qk_norm=seed % 2 > 0,
                                  post_norm=seed > 3, **layers)  # fmt: skip
        for task in "abc":
            run = Golden(desc).run(random_images(desc, 2, seed), task, keep=True).tensors
            for name, tensor in run.items():
                kind = name.rpartition(".")[2]
                if kind in LIMITS:
                    values = np.concatenate([[0], *(np.ravel(part) for part in tensor)])
                    low[kind], high[kind] = min(low[kind], values.min()), max(high[kind], values.max())
    found = {kind: (low[kind], high[kind]) for kind in LIMITS}
    assert found | {"pre": LIMITS["pre"]} == LIMITS
    assert set(WATCHED) <= set(LIMITS)
