"""The quantizer against the float network, and the random descriptions the other tests are built on."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.evaluate.quality import evaluate, quality
from hwgen.network.description import expected_tensors, load
from hwgen.network.floatmodel import FloatModel, expected_checkpoint, gelu
from hwgen.quantize import float_network, quantize, run
from hwgen.quantize.fixed import multiplier
from tests.paths import MNIST
from tests.random_model import random_description, random_images

# --- the MNIST example


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


def test_example_accuracy_on_500_images() -> None:
    images, labels = runpy.run_path(str(MNIST / "evaluate.py"))["labelled_images"](500)
    network = float_network(MNIST / "quantize.yaml")
    found = evaluate(load(MNIST / "model"), images, labels)
    for task, wanted in labels.items():
        reference = quality(network.run(images, task), wanted)
        assert found[task].accuracy >= reference.accuracy - 0.004, task
        assert found[task].miou >= reference.miou - 0.005, task
        assert reference.accuracy > 0.98, task


def test_quality_counts_by_hand() -> None:
    outputs = np.array([[[3, 1, 0]], [[5, 5, 0]], [[0, 9, 1]], [[0, 9, 1]]])  # classes 0, 0 (a tie), 1, 1
    found = quality(outputs, np.array([[0], [1], [1], [1]]))
    assert found.accuracy == 0.75
    assert found.miou == pytest.approx((1 / 2 + 2 / 3) / 2)  # class 2 neither occurs nor is predicted


# --- arithmetic


def test_multiplier_is_normalised_and_close() -> None:
    exponents = np.concatenate([np.linspace(-31.9, 15.9, 4001), np.arange(-32.0, 16.0)])
    ratios = np.append(np.exp2(exponents), 65535.9 / 65536)
    mult, shift = multiplier(ratios)
    assert mult.min() >= 1 << 15
    np.testing.assert_allclose(np.ldexp(mult.astype(float), -shift.astype(int)), ratios, rtol=2**-16)


@pytest.mark.parametrize(
    ("ratio", "max_shift", "expected"),
    [
        (0.0, 47, (0, 16)),
        (1.0, 47, (32768, 15)),
        (65535.9, 47, (65535, 0)),
        (1e9, 47, (65535, 0)),
        (2.0**-20, 31, (2048, 31)),
        (2.0**-60, 47, (0, 47)),
    ],
)
def test_multiplier_at_the_ends(ratio: float, max_shift: int, expected: tuple[int, int]) -> None:
    mult, shift = multiplier(ratio, max_shift)
    assert (int(mult[0]), int(shift[0])) == expected


def test_gelu_by_known_values() -> None:
    known = [-0.0455003, -0.1586553, 0.0, 0.3457312, 0.8413447, 2.9959503]
    np.testing.assert_allclose(gelu(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])), known, atol=5e-7)


# --- other structures than the example's


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
        elif name in ("pos", "cls", "dist"):
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
        "tasks": [task.model_dump(exclude={"outputs"}) for task in model.tasks],
    }  # fmt: skip
    path = directory / "quantize.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


DENSE = {"mlp": {"kind": "dense", "hidden": 50}}
MOE = {"mlp": {"kind": "moe", "experts": 5, "hidden": 30, "top_k": 2, "gate": "topk_softmax"}}
MEAN = {"name": "a", "head": "mean", "outputs": 3, "norm": True}


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("head", ["class_token", "mean", "every_token", "none"])
@pytest.mark.parametrize("layer", [DENSE, MOE], ids=["dense", "moe"])
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
    found = Golden(description).run(images, "only").output * _step(description.model.scales, head, norm)
    noise = float(((found - wanted) ** 2).mean())
    decibels = 10 * np.log10(float((wanted**2).mean()) / noise)
    # A token whose routing flips between nearly equal experts costs far more than rounding does.
    assert decibels > (28 if layer is DENSE else 26), f"{decibels:.1f} dB"


def _step(scales: dict[str, float], head: str, norm: bool) -> float:
    """Real value of one step of the outputs."""
    if head != "none":
        return scales["tasks.only.output"]
    return scales["tasks.only.norm"] if norm else scales["residual"]


def test_weights_use_the_whole_range_and_k_has_no_bias() -> None:
    tensors = load(MNIST / "model").tensors
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            assert (np.abs(tensor).max(1) == 127).all(), name
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


# --- errors of the quantizer


def broken(tmp_path: Path, change: dict[str, Any]) -> str:
    """The message for a quantize.yaml with these keys changed (None: left out)."""
    path = write_random_network(tmp_path, 1, layers=[MOE], tasks=[MEAN])
    config = yaml.safe_load(path.read_text()) | change
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    with pytest.raises(HwgenError) as caught:
        quantize(path)
    return caught.value.text().replace(str(tmp_path), "DIR")


def test_errors_name_file_key_and_mend(tmp_path: Path) -> None:
    assert broken(tmp_path, {"checkpoint": "lost.npz"}) == (
        "DIR/lost.npz\n  expected: a checkpoint\n  found:    no such file or folder\n  mend:     check the path"
    )
    text = broken(tmp_path, {"checkpoint": "quantize.yaml"})
    assert "DIR/quantize.yaml\n  expected: a .safetensors, .npz, .pt" in text
    assert "quantize.yaml: moe\n  expected: `moe`, as the checkpoint has l0.gate0" in broken(tmp_path, {"moe": None})
    assert "unknown key `head_dims`\n  mend:     did you mean `head_dim`?" in broken(tmp_path, {"head_dims": 3})
    assert "DIR/float.npz: l0.qkv.w\n  expected: float [" in broken(tmp_path, {"head_dim": 63})
    assert "number(s), one per image channel" in broken(tmp_path, {"normalize": {"mean": [], "std": []}})
    assert "layers.0.mlp.top_k\n  expected: at most experts = 5\n  found:    6" in broken(
        tmp_path, {"moe": {"top_k": 6, "gate": "softmax_topk"}}
    )
    assert "DIR/float.npz: images\n  expected: an array `images`" in broken(tmp_path, {"calibration": "float.npz"})


def test_not_finite_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write_random_network(tmp_path, 5, layers=[DENSE])
    tensors = dict(np.load(tmp_path / "float.npz"))
    tensors["l0.fc1.w"][0, 0] = np.nan
    np.savez(tmp_path / "float.npz", **tensors)
    with pytest.raises(HwgenError, match=r"float\.npz: l0\.fc1\.w\n  expected: finite numbers\n  found:    nan or inf"):
        quantize(path)


def test_tap_names_are_those_of_the_golden_model(tmp_path: Path) -> None:
    path = write_random_network(tmp_path, 2, layers=[DENSE, MOE], tasks=[MEAN])
    network: FloatModel = float_network(path)
    description = quantize(path)
    images = random_images(description, 8, 0)
    seen: set[str] = set()
    network.run(images, "a", lambda name, value: seen.add(name))
    known = set(Golden(description).run(images, "a", keep=True).tensors)
    assert {re.sub(r"expert\.\d+", "expert.0", name) for name in seen} <= known | {"layers.1.expert.0.hidden"}


# --- random descriptions


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_descriptions_are_valid_deterministic_and_lively(start: int) -> None:
    for seed in range(start, start + 50):
        description = random_description(seed)  # checks itself against expected_tensors
        if seed % 10:
            continue
        again = random_description(seed)
        assert again.model == description.model
        assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in description.tensors.items())
        images = random_images(description, 3, seed)
        assert np.array_equal(images, random_images(again, 3, seed))
        for task in description.model.tasks:
            tensors = Golden(description).run(images, task.name, keep=True).tensors
            for name, tensor in tensors.items():
                if name.endswith((".q", ".k", ".v", ".norm1", ".norm2")):
                    assert 15 < tensor.std() < 70, f"{seed} {name}"
                    assert np.mean(np.abs(tensor.astype(int)) >= 127) < 0.1, f"{seed} {name}"
            assert len(np.unique(tensors[f"{task.name}.output"])) > 3, seed


def test_overrides_and_gain() -> None:
    description = random_description(7, dim=24, class_token=False, image={"height": 9, "width": 8, "channels": 1})
    assert (description.model.dim, description.model.tokens) == (24, description.model.patches)
    assert set(description.tensors) == set(expected_tensors(description.model))
    loud, quiet = (random_description(7, gain=gain).tensors["embed.mult"] for gain in (1.0, 1.5))
    assert (loud != quiet).any()
    with pytest.raises(HwgenError, match="unknown key `dims`\n  mend:     did you mean `dim`"):
        random_description(7, dims=24)
