"""Seeded full-size descriptions look like trained networks: outlier channels, sparse GELU outputs, uneven experts."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from golden.model import Golden
from hwgen.evaluate.report.tensors import LIMITS
from hwgen.network.description import Description
from hwgen.quantize.synthetic import synthetic, synthetic_images
from tests.paths import EXAMPLES
from tests.random_model import random_description

SEED = 1


def example(name: str, seed: int = SEED) -> Description:
    return synthetic(EXAMPLES / name / "model.yaml", seed)


class Run:
    """A description and golden's tensors of every task for two images."""

    def __init__(self, name: str) -> None:
        self.desc = example(name)
        images = synthetic_images(self.desc, 2, 1)
        self.tensors = {
            task.name: Golden(self.desc).run(images, task.name, keep=True).tensors for task in self.desc.model.tasks
        }

    def named(self, *ends: str) -> Iterator[tuple[str, np.ndarray]]:
        """Names and tensors of the first image, all tasks, whose last part is one of `ends`."""
        for task, tensors in self.tensors.items():
            yield from ((f"{task} {name}", t[0]) for name, t in tensors.items() if name.split(".")[-1] in ends)

    def hidden(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """Name, zero point and post-GELU codes of every layer's MLP; of a MoE layer, of the expert with most tokens."""
        for task, tensors in self.tensors.items():
            for i, layer in enumerate(self.desc.model.layers):
                part, codes = "mlp", "hidden"
                if layer.mlp.kind == "moe":
                    expert = np.bincount(tensors[f"layers.{i}.experts"][0].ravel()).argmax()
                    part, codes = f"moe.experts.{expert}", f"expert.{expert}.hidden"
                zero = self.desc.tensors[f"layers.{i}.{part}.activation.zero"].item()
                yield f"{task} layers.{i}.{part}", zero, tensors[f"layers.{i}.{codes}"][0]


@cache
def run_of(name: str) -> Run:
    return Run(name)


@pytest.fixture(scope="module", params=["edge_moe", "deit_tiny", "deit_small"])
def run(request) -> Run:
    return run_of(request.param)


def spread(x: np.ndarray) -> np.ndarray:
    """Standard deviation of each channel over the tokens, the median channel's being 1."""
    deviation = x.std(0)
    return deviation / np.median(deviation)


def test_the_same_few_residual_channels_are_outliers_in_every_layer(run):
    dim = run.desc.model.dim
    found = set()
    for name, x in run.named("embed", "attn", "mlp"):
        ratio = spread(x)
        outlier = ratio > 4
        found.add(tuple(np.flatnonzero(outlier)))
        assert 0.01 * dim < outlier.sum() < 0.03 * dim, name
        assert 6 < ratio.max() < 10 and ratio[outlier].min() > 4.5, f"{name}: {ratio[outlier]}"
        assert ratio[~outlier].max() < 2.5, name
        peak = np.abs(x.astype(int)).max(0)
        assert 5 < peak.max() / np.median(peak) < 12, name
        assert peak.max() < 1 << 14, f"{name} has {peak.max()}: less headroom than the quantizer leaves"
    assert len(found) == 1


def test_layernorms_even_the_channels_out(run):
    for name, y in run.named("norm1", "norm2"):
        assert spread(y).max() < 3.5, name
        assert 40 < y.std() < 80, name


def test_hardly_anything_saturates(run):
    for tensors in run.tensors.values():
        for name, tensor in tensors.items():
            kind = name.rpartition(".")[2]
            if isinstance(tensor, np.ndarray) and kind in LIMITS:
                low, high = LIMITS[kind]
                share = np.mean((tensor == low) | (tensor == high)) if kind != "hidden" else np.mean(tensor == high)
                assert share < 0.01, f"{name}: {share:.1%} saturated"


def test_scores_spread_over_a_few_log2_units(run):
    for name, score in run.named("score"):
        assert 0.8 < score.std(-1).mean() / 32 < 3.2, name


def test_gelu_outputs_lie_near_the_zero_point_with_a_long_tail(run):
    for name, zero, codes in run.hidden():
        above = codes.astype(int) - zero
        assert 8 <= zero + 255 <= 28, name
        assert 0.75 < np.mean(above <= 0) < 0.92, name
        assert np.mean(np.abs(above) <= 32) > 0.8, name
        assert 80 < np.quantile(above, 0.99) < 400 and above.max() > 320, name
        assert np.mean(codes == 255) < 0.01, name


def test_expert_loads_are_like_a_checkpoint_s():
    """Per layer 0 to 5 of 16 experts empty, the fullest with 33 to 77 of 258 assignments; different for the tasks."""
    tasks = []
    for tensors in run_of("edge_moe").tensors.values():
        chosen = np.stack([tensors[f"layers.{i}.experts"] for i in range(1, 12, 2)], 1)  # [image, layer, token, winner]
        loads = (chosen.reshape(2, 6, -1, 1) == np.arange(16)).sum(2)
        assert (loads.sum(-1) == 258).all()
        empty, fullest = (loads == 0).sum(-1), loads.max(-1)
        assert (empty <= 5).all() and empty.any(), empty
        assert (fullest >= 33).all() and (fullest <= 77).all(), fullest
        tasks.append(loads)
    assert (tasks[0] != tasks[1]).any(-1).all()


def test_narrow_layers_use_their_range():
    """All of ±7, the limits no more often than a tensor quantized by its maximum; others keep all of ±127."""
    desc = random_description(3, narrow=0.5, dim=40)
    for name, tensor in desc.tensors.items():
        if name.endswith(".weight") and tensor.size > 900:
            limit = 7 if name.removesuffix(".weight") in desc.model.weight_bits else 127
            assert np.abs(tensor).max() == limit, name
            assert np.mean(np.abs(tensor) == limit) < 0.05, name
            assert np.std(tensor) == pytest.approx(limit * 45 / 127, rel=0.1), name


def test_the_seed_decides():
    first, again, other = (example("deit_tiny", seed).tensors for seed in (SEED, SEED, SEED + 1))
    assert all(np.array_equal(again[name], tensor) for name, tensor in first.items())
    assert not np.array_equal(other["embed.weight"], first["embed.weight"])
