"""The mean in front of a norm: steps with the least error, and the network's outputs through it."""

import numpy as np
import pytest

from golden.model import Golden
from hwgen.network.description import Description
from hwgen.network.floatmodel import FloatModel, expected_checkpoint
from hwgen.quantize.options import Options
from hwgen.quantize.pipeline import quantize_network
from hwgen.quantize.pooling import HEADROOM, SPREAD, Pooling, pooling
from tests.random_model import random_description, random_images


def network(head: str) -> tuple[FloatModel, Description]:
    """A random float network with outlier channels and this head, and a description of its structure."""
    desc = random_description(
        3, dim=48, heads=3, head_dim=16, image={"height": 24, "width": 32, "channels": 3},
        patch={"height": 4, "width": 4}, class_token=True, distillation_token=True,
        layers=[{"mlp": {"kind": "dense", "hidden": 96}}] * 2,
        tasks=[{"name": "a", "head": head, "outputs": 20, "norm": True}],
    )  # fmt: skip
    rng = np.random.default_rng(5)
    outlier = np.where(np.arange(48) % 24 == 7, 8.0, 1.0)
    tensors = {}
    for name, shape in expected_checkpoint(desc.model).items():
        spread = 0.2 if len(shape) == 1 else 0.4 if shape[0] == 1 or name == "pos" else shape[1] ** -0.5
        tensors[name] = rng.normal(name.endswith(".g"), spread, shape)
        if name in ("pos", "cls", "dist"):
            tensors[name] *= outlier
        elif len(shape) == 2 and shape[0] == 48:
            tensors[name] *= outlier[:, None]
    return FloatModel(desc.model, tensors, eps=1e-6, mean=[120.0] * 3, std=[60.0] * 3, dtype=np.float64), desc


@pytest.mark.parametrize("head", ["mean_norm", "distillation_token"])
def test_outputs_follow_the_float_network(head: str) -> None:
    """Also the differences between images, a tenth of what outputs have in common."""
    float_network, desc = network(head)
    made = quantize_network(float_network, random_images(desc, 32, 1), Options(), lambda line: None)
    images = random_images(desc, 32, 2)
    wanted = float_network.run(images, "a")
    found = Golden(made).run(images, "a").output * made.model.scales["tasks.a.output"]
    noise = ((found - wanted) ** 2).mean()
    assert 10 * np.log10((wanted**2).mean() / noise) > 28
    assert 10 * np.log10(wanted.var(0).mean() / noise) > 16


def test_the_mean_keeps_its_scale_and_centre() -> None:
    """int16 means against those of the float network."""
    float_network, desc = network("mean_norm")
    images = random_images(desc, 32, 1)
    made = quantize_network(float_network, images, Options(), lambda line: None)
    seen = {}
    float_network.run(images, "a", lambda name, value: seen.update({name: value}))
    pool = Golden(made).run(images, "a", keep=True).tensors["a.pool"] * made.model.scales["tasks.a.pool"]
    error = np.sqrt(((pool - seen["a.pool"]) ** 2).mean((0, 1)) / seen["a.pool"].var((0, 1)))
    assert error.max() < 0.1, "of a standard deviation between images, in every channel"
    step = made.model.scales["tasks.a.pool"]
    assert made.tensors["tasks.a.norm.eps"].item() == max(1, round(1e-6 * 48**2 / step**2))


def error_of(made: Pooling, count: int) -> float:
    return float((made.steps**2).sum() * (1 / count + made.factor**2))


def test_steps_cover_both_ranges() -> None:
    rng = np.random.default_rng(0)
    low, high = -rng.uniform(1, 20, 30), rng.uniform(1, 20, 30)
    means = low / 3, high / 4
    made = pooling((low, high), means, 64)
    assert (255.01 * made.steps >= np.maximum(high - made.centre, made.centre - low)).all()
    assert (255.01 * made.steps * made.factor >= HEADROOM * (means[1] - means[0]) / 2).all()
    assert np.allclose(made.centre, (means[0] + means[1]) / 2)


def test_one_factor_is_the_best_of_many() -> None:
    """One channel's mean moves as far as its tokens: it gets wider steps, the others keep fine means."""
    tokens = np.full(50, -10.0), np.full(50, 10.0)
    spread = np.where(np.arange(50) == 3, 6.0, 0.3)
    made = pooling(tokens, (-spread, spread), 64)
    assert made.steps[3] > 1.5 * made.steps[0]
    assert np.delete(made.steps, 3) == pytest.approx(10 / 255)
    reach, wide = 10.0, HEADROOM * spread
    for factor in np.geomspace(0.01, 2, 200):
        steps = np.maximum(reach, wide / factor) / 255
        assert error_of(made, 64) <= 1.1 * error_of(Pooling(np.zeros(50), steps, factor), 64)


def test_silent_channels() -> None:
    made = pooling((np.array([-10.0, 0]), np.array([10.0, 0])), (np.zeros(2), np.zeros(2)), 16)
    assert made.steps == pytest.approx([10 / 255, 10 / 255 / SPREAD]) and made.factor == 0.25
