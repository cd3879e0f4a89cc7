"""The quantizer against the float network: the trained example, and other structures than its."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.model import Golden
from hwgen.evaluate.predict import output_step
from hwgen.network.description import load
from hwgen.quantize import float_network, quantize, run
from tests.paths import MNIST
from tests.quantize.helpers import DENSE, GATED, MEAN, MOE, write_random_network
from tests.random_model import random_images


def test_example_is_reproduced_byte_for_byte(tmp_path: Path) -> None:
    lines: list[str] = []
    run(MNIST / "quantize.yaml", tmp_path, lines.append)
    for name in ("model.yaml", "weights.safetensors"):
        assert (tmp_path / name).read_bytes() == (MNIST / "model" / name).read_bytes(), name
    for task in ("digit", "segment"):
        steps = [line for line in lines if line.startswith(f"calibrating {task}: image ")]
        assert len(steps) > 1, "progress between the images"
        assert all(line.endswith(" of 512") for line in steps)
    assert lines[-1] == f"wrote {tmp_path / 'model.yaml'}"


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("head", ["class_token", "mean", "every_token", "none"])
@pytest.mark.parametrize("layer", [DENSE, MOE, GATED], ids=["dense", "moe", "gated"])
def test_integer_outputs_follow_the_float_network(tmp_path: Path, head: str, norm: bool, layer: dict[str, Any]) -> None:
    """Signal to noise of the outputs; a wrong scale, zero point or order anywhere leaves almost none."""
    task = {"name": "only", "head": head, "norm": norm} | ({} if head == "none" else {"outputs": 7})
    path = write_random_network(tmp_path, 3, dim=37, heads=3, head_dim=11, layers=[layer], tasks=[task],
                                class_token=True, image={"height": 12, "width": 15, "channels": 3},
                                patch={"height": 4, "width": 3})  # fmt: skip
    description = quantize(path)
    network = float_network(path)
    images = random_images(description, 64, 99)
    wanted = network.run(images, "only")
    found = Golden(description).run(images, "only").output * output_step(description, description.model.tasks[0])
    noise = float(((found - wanted) ** 2).mean())
    decibels = 10 * np.log10(float((wanted**2).mean()) / noise)
    # A token whose routing flips between nearly equal experts costs far more than rounding does.
    assert decibels > (26 if layer is MOE else 28), f"{decibels:.1f} dB"


def test_weights_use_the_whole_range_and_k_has_no_bias() -> None:
    tensors = load(MNIST / "model").tensors
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            # Rounding that makes up for other weights' errors may move a channel's largest.
            assert (np.abs(tensor).max(1) >= 125).all(), name
            assert np.mean(np.abs(tensor).max(1) == 127) > 0.85, name
    assert not tensors["layers.0.attn.k.bias"].any()
    assert tensors["embed.mult"].min() >= 1 << 15


def test_channel_of_zeros_is_quantized(tmp_path: Path) -> None:
    path = write_random_network(tmp_path, 5, layers=[DENSE], tasks=[MEAN])
    tensors = dict(np.load(tmp_path / "float.npz"))
    tensors["head0.w"][1] = 0
    tensors["head0.b"][1] = 0
    np.savez(tmp_path / "float.npz", **tensors)
    description = quantize(path)
    output = Golden(description).run(random_images(description, 2, 1), "a").output
    assert not output[..., 1].any() and output[..., 0].all()
