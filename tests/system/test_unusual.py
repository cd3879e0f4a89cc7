"""What few networks have: each intermediate tensor of the quantized network against the float one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.model import Golden
from hwgen.evaluate.predict import output_step
from hwgen.evaluate.report import report
from hwgen.importers import ImageSize, Normalize, Overrides, TaskChoice, load
from hwgen.quantize import float_network, quantize
from tests.quantize.helpers import decibels, quantized, random_network, write_random_network
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


@pytest.mark.parametrize("changes", [{}, {"qk_norm": True, "norm_pre": True}, {"rms_norm": True}])
def test_norms_behind(usual: dict[str, float], changes: dict[str, bool]) -> None:
    """What attention makes is small where it looks everywhere alike; a norm behind makes its noise large, too. The nine
    bits of the norm are not what limits it."""
    found = noise(post_norm=True, **changes)
    new = {f"layers.{index}.{part}" for index in range(2) for part in ("rescale1", "rescale2", "proj", "fc2")}
    assert found.keys() >= usual.keys() | new
    assert found["layers.0.rescale1"] > 40
    assert all(found[f"layers.{index}.norm1"] > found[f"layers.{index}.proj"] - 4 for index in range(2)), found
    assert all(found[name] > usual[name] - 10 for name in usual), (found, usual)
    assert all(found[name] > 31 for name in new), found


def test_rms_norm(usual: dict[str, float]) -> None:
    """As precise as LayerNorm; with all else that has norms."""
    found = noise(rms_norm=True)
    assert found.keys() == usual.keys()
    assert all(found[name] > usual[name] - 2 for name in usual), (found, usual)
    found = noise(rms_norm=True, norm_pre=True, qk_norm=True)
    assert all(found[name] > usual[name] - 4 for name in usual), (found, usual)


@pytest.mark.parametrize("outputs", [{}, {"outputs": 20}])
def test_attention_pooling(usual: dict[str, float], outputs: dict[str, int]) -> None:
    mlp = {"kind": "dense", "hidden": 96, "activation": "gelu"}
    found = noise(tasks=[{"name": "a", "head": "map", "norm": True, "mlp": mlp} | outputs])
    pooled = {f"a.{part}" for part in ("norm", "k", "v", "context", "proj", "map_norm", "hidden", "mlp")}
    assert found.keys() == usual.keys() | pooled
    for name in pooled - {"a.norm", "a.k"}:  # where the query is near zero, k has wide steps
        like = {"proj": "attn", "map_norm": "norm2"}.get(name[2:], name[2:])
        assert found[name] > usual[f"layers.1.{like}"] - 4, (name, found)
    assert found["a.output"] > usual["a.output"] - 2, found


def test_from_a_checkpoint_file(tmp_path: Path) -> None:
    """All of it at once, with a search for four bits: structure by quantize.yaml and by the shapes; and the report."""
    mlp = {"kind": "dense", "hidden": 96, "activation": "gelu"}
    tasks = [{"name": "a", "head": "map", "norm": True, "mlp": mlp, "outputs": 7}]
    path = write_random_network(tmp_path, 5, **(SIZES | {"tasks": tasks, "patch": {"height": 4, "width": 4}}),
                                register_tokens=3, norm_pre=True, qk_norm=True, rms_norm=True)  # fmt: skip
    path.write_text(path.read_text() + "options: {mean_bits: 6}\n")
    description, network = quantize(path), float_network(path)
    assert any(name.startswith("tasks.a.map.") for name in description.model.weight_bits)
    images = random_images(description, 16, 9)
    wanted = network.run(images, "a")
    found = Golden(description).run(images, "a").output * output_step(description, description.model.tasks[0])
    assert 10 * np.log10((wanted**2).mean() / ((found - wanted) ** 2).mean()) > 20
    result = report(network, description, images[:2]).as_dict()
    assert {"norm_pre", "stream", "layers.0.q_proj", "a.map_norm", "a.mlp"} <= result["tensors"].keys()
    given = Overrides(
        heads=3, normalize=Normalize(mean=[0.0] * 3, std=[1.0] * 3), image_size=ImageSize(height=24, width=32),
        tasks=[TaskChoice(name="a", head="map")],
    )  # fmt: skip
    read = load(tmp_path / "float.npz", overrides=given).model
    same = {"register_tokens", "norm_pre", "qk_norm", "rms_norm", "tasks", "tokens"}
    assert all(getattr(read, key) == getattr(description.model, key) for key in same)
