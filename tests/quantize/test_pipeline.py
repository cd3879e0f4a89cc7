"""What the methods reach on a block with a trained network's outliers, and on networks of other structures."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import pytest

from golden.model import Golden
from hwgen.evaluate.quality import evaluate, quality
from hwgen.network.description import Description
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize import float_network
from hwgen.quantize.options import Options, option_strings
from hwgen.quantize.pipeline import quantize_network
from tests.paths import MNIST
from tests.quantize import outlier_block
from tests.quantize.helpers import EVALUATE, PLAIN, decibels, noise_images, quantized, random_network, untrained
from tests.random_model import random_images

DENSE = {"mlp": {"kind": "dense", "hidden": 50}}
MOE = {"mlp": {"kind": "moe", "experts": 4, "hidden": 30, "top_k": 2, "gate": "softmax_topk"}}
SMALL = {"dim": 37, "heads": 3, "head_dim": 11, "class_token": True,
         "image": {"height": 12, "width": 15, "channels": 3}, "patch": {"height": 4, "width": 3}}  # fmt: skip
METHODS: list[dict[str, Any]] = [
    {"ranges": ranges, "repq": repq, "equalize": equalize}
    for ranges in ("minmax", "percentile", "mse") for repq in (False, True) for equalize in (False, True)
]  # fmt: skip


@cache
def block(seed: int) -> FloatModel:
    return outlier_block.outlier_block(seed)


@cache
def block_decibels(seed: int, **options: Any) -> dict[str, float]:
    """Calibrated on 32 images, measured on 8 others."""
    description = quantized(block(seed), outlier_block.images(32, seed), **options)
    return decibels(block(seed), description, outlier_block.images(8, seed + 100), "stream")


# --- a block as trained networks have it


@pytest.mark.parametrize("seed", range(3))
def test_minmax_alone_keeps_47_db_after_attention_and_42_after_the_mlp(seed: int) -> None:
    """With operands of eight bits 43 and 38."""
    found = block_decibels(seed, **PLAIN)
    assert found["layers.0.attn"] >= 47
    assert found["layers.0.mlp"] >= 42


@pytest.mark.parametrize("seed", range(3))
def test_defaults_keep_50_db_after_attention_and_44_after_the_mlp(seed: int) -> None:
    found = block_decibels(seed)
    assert found["layers.0.attn"] >= 50
    assert found["layers.0.mlp"] >= 44


@pytest.mark.parametrize("seed", range(3))
def test_second_order_rounding_makes_up_for_the_weights(seed: int) -> None:
    """Of the same ranges; it shows behind linear layers, not in what they read."""
    nearest, second = block_decibels(seed, **PLAIN), block_decibels(seed, **PLAIN | {"rounding": "second_order"})
    assert second["layers.0.norm1"] == nearest["layers.0.norm1"]
    for name in ("q", "k", "v", "hidden"):
        assert second[f"layers.0.{name}"] > nearest[f"layers.0.{name}"], name
    assert second["layers.0.attn"] > nearest["layers.0.attn"] + 1
    assert second["layers.0.mlp"] > nearest["layers.0.mlp"] + 0.5


@pytest.mark.parametrize("seed", range(3))
def test_repq_raises_post_norm_tensors(seed: int) -> None:
    """By 5 dB and more where channels get room, else by 2: with nine bits, values calibration has not seen and which
    a channel of its own range clips count for more than rounding."""
    plain, repq = block_decibels(seed, **PLAIN), block_decibels(seed, **PLAIN | {"repq": True})
    for name in ("layers.0.norm1", "layers.0.norm2"):
        assert repq[name] >= plain[name] + 1.9, name
    plain, repq = (block_decibels(seed, **PLAIN | {"ranges": "auto", "repq": repq}) for repq in (False, True))
    assert repq["layers.0.norm2"] >= plain["layers.0.norm2"] + 5


def test_defaults_are_better_than_minmax_everywhere() -> None:
    plain, default = block_decibels(0, **PLAIN), block_decibels(0)
    assert default["layers.0.attn"] > plain["layers.0.attn"] + 2
    assert default["layers.0.mlp"] > plain["layers.0.mlp"] + 1
    for name in ("norm1", "norm2", "q", "k", "v", "context", "hidden"):
        assert default[f"layers.0.{name}"] > plain[f"layers.0.{name}"] + 1, name


def test_the_block_is_like_a_trained_one() -> None:
    """The generator's profile: outlier channels, K's biases, GELU's mostly negative inputs and its long tail."""
    found: dict[str, np.ndarray] = {}
    block(0).run(outlier_block.images(8, 7), "stream", lambda name, value: found.setdefault(name, value))
    channels = np.sqrt((found["embed"] ** 2).mean((0, 1))) / np.median(np.sqrt((found["embed"] ** 2).mean((0, 1))))
    assert found["embed"].shape == (8, 129, 192)
    assert np.sum(channels > 5.5) == outlier_block.OUTLIERS and channels.max() < 11
    assert np.abs(block(0).tensors["l0.qkv.b"]).max() == 51
    hidden = found["layers.0.hidden"]
    assert np.mean(hidden < 0) > 0.8
    step = (hidden.max() - hidden.min()) / 255
    assert 26 < 10 * np.log10((hidden**2).mean() / (step**2 / 12)) < 30


# --- other structures


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
@pytest.mark.parametrize("layer", [DENSE, MOE], ids=["dense", "moe"])
def test_every_method_follows_the_float_network(layer: dict[str, Any], method: dict[str, Any]) -> None:
    """A wrong scale, centre or bias anywhere leaves almost no signal."""
    tasks = [{"name": "a", "head": "mean", "outputs": 7, "norm": True},
             {"name": "b", "head": "every_token", "outputs": 4, "norm": False}]  # fmt: skip
    network = random_network(3, layers=[layer], tasks=tasks, **SMALL)
    images = random_images(Description(network.model, {}), 48, 5)
    description = quantized(network, images[:32], **method)
    for task in ("a", "b"):
        found = decibels(network, description, images[32:], task)
        # A token whose routing flips between nearly equal experts costs far more than rounding does.
        assert found[f"{task}.output"] > (28 if layer is DENSE else 24), task
        assert found["layers.0.attn"] > 35


def test_what_all_keys_have_in_common_costs_k_no_codes() -> None:
    """LayerNorm's beta, far from zero, adds the same to every key; the post-norm centre takes it out of k's codes."""
    network = random_network(4, layers=[DENSE], tasks=[{"name": "a", "head": "none", "norm": True}], **SMALL)
    network.tensors["l0.n1.b"] += 8
    images = random_images(Description(network.model, {}), 32, 5)
    keys = {
        name: np.abs(Golden(quantized(network, images, **options)).run(images, "a", keep=True).tensors["layers.0.k"])
        for name, options in {"plain": PLAIN, "repq": PLAIN | {"repq": True}}.items()
    }
    assert keys["plain"].max() >= 120 and keys["repq"].max() >= 120
    spread = {name: codes.std((0, 1)).mean() for name, codes in keys.items()}
    assert spread["repq"] > 1.5 * spread["plain"]


def test_output_tensors_of_a_head_without_weights_keep_one_scale() -> None:
    network = random_network(4, layers=[DENSE], tasks=[{"name": "a", "head": "none", "norm": True}], **SMALL)
    images = random_images(Description(network.model, {}), 32, 5)
    description = quantized(network, images)
    codes = description.model.scales["tasks.a.norm"]
    plain = quantized(network, images, repq=False, equalize=False)
    for part in ("gamma", "beta"):
        np.testing.assert_array_equal(
            description.tensors[f"tasks.a.norm.{part}"], plain.tensors[f"tasks.a.norm.{part}"]
        )
    assert codes == plain.model.scales["tasks.a.norm"]
    assert decibels(network, description, images, "a")["a.output"] > 30


def test_four_bit_layers_are_those_of_the_patterns() -> None:
    network = random_network(
        3, layers=[MOE], tasks=[{"name": "a", "head": "mean", "outputs": 7, "norm": True}], **SMALL
    )
    images = random_images(Description(network.model, {}), 32, 5)
    description = quantized(network, images, weight_bits={"*.experts.*": 4, "*.experts.1.*": 8})
    wanted = {f"layers.0.moe.experts.{expert}.{part}": 4 for expert in (0, 2, 3) for part in ("fc1", "fc2")}
    assert description.model.weight_bits == wanted
    for name, tensor in description.tensors.items():
        if name.endswith(".weight"):
            limit = 7 if name.removesuffix(".weight") in wanted else 127
            assert limit - 1 <= np.abs(tensor).max() <= limit, name
    assert decibels(network, description, images, "a")["a.output"] > 15


def test_a_mean_error_of_four_bit_weights_goes_into_the_bias() -> None:
    """Inputs far from zero, as GELU's outputs: without the correction their mean times the rounding error remains."""
    network = random_network(
        3, layers=[DENSE], tasks=[{"name": "a", "head": "mean", "outputs": 7, "norm": True}], **SMALL
    )
    network.tensors["l0.fc1.b"] += 2
    images = random_images(Description(network.model, {}), 32, 5)
    description = quantized(network, images, weight_bits={"*.fc2": 4})
    bias = description.tensors["layers.0.mlp.fc2.bias"]
    with_bias = decibels(network, description, images, "a")["layers.0.mlp"]
    zero = int(description.tensors["layers.0.mlp.activation.zero"][0])
    mult = description.tensors["layers.0.mlp.fc2.mult"].astype(float)
    shift = description.tensors["layers.0.mlp.fc2.shift"].astype(int) + description.model.stream_bits[-1]
    scale = np.ldexp(mult, -shift)
    codes = description.tensors["layers.0.mlp.fc2.weight"].astype(int)
    uncorrected = np.rint(network.tensors["l0.fc2.b"] / scale - zero * codes.sum(1)).astype(np.int32)
    assert (uncorrected != bias).any()
    description.tensors["layers.0.mlp.fc2.bias"] = uncorrected
    assert with_bias > decibels(network, description, images, "a")["layers.0.mlp"] + 1


def test_the_same_inputs_give_the_same_description() -> None:
    network = random_network(
        6, layers=[MOE], tasks=[{"name": "a", "head": "mean", "outputs": 7, "norm": True}], **SMALL
    )
    images = random_images(Description(network.model, {}), 32, 5)
    first, again = (quantized(network, images, mean_bits=6.0) for _ in range(2))
    assert first.model == again.model
    assert all(np.array_equal(first.tensors[name], again.tensors[name]) for name in first.tensors)


def test_defaults_are_the_measured_ones() -> None:
    """docs/quantization.md has the figures; change both."""
    options = Options()
    assert (options.ranges, options.repq, options.equalize, options.rounding) == ("auto", True, True, "second_order")
    assert (options.weight_bits, options.mean_bits) == ({}, None)


# --- figures of docs/quantization.md, on the trained example and on networks of DeiT's sizes; minutes


@cache
def float_accuracy() -> dict[str, float]:
    """Of each task on all test images."""
    images, labels = EVALUATE["labelled_images"]()
    network = float_network(MNIST / "quantize.yaml")
    return {task: quality(network.run(images, task), wanted).accuracy for task, wanted in labels.items()}


@pytest.mark.slow
@pytest.mark.parametrize("method", EVALUATE["METHODS"])
def test_mnist_keeps_its_accuracy_on_all_images(method: str) -> None:
    """Within 0.10 points of float; with four-bit experts within 0.5; with four bits everywhere still a network."""
    images, labels = EVALUATE["labelled_images"]()
    network = float_network(MNIST / "quantize.yaml", dtype=np.float64)
    options = option_strings(EVALUATE["METHODS"][method])
    description = quantize_network(network, EVALUATE["calibration_images"](), options, lambda line: None)
    found = evaluate(description, images, labels)
    points = 1.0 if options.weight_bits.get("*") else 0.5 if options.weight_bits or options.mean_bits else 0.1
    for task, wanted in float_accuracy().items():
        assert found[task].accuracy >= wanted - points / 100, task


@pytest.mark.slow
def test_logits_of_an_untrained_deit_tiny() -> None:
    network = untrained("deit_tiny")
    description = quantized(network, noise_images(16, 1))
    assert decibels(network, description, noise_images(4, 2), "classify")["classify.output"] >= 27


@pytest.mark.slow
def test_deit_small_takes_less_than_five_minutes() -> None:
    start = time.process_time()
    quantized(untrained("deit_small"), noise_images(32, 1))
    assert time.process_time() - start < 300


def test_a_large_pre_activation_costs_nothing() -> None:
    """One hidden channel at 14 for every token, taken back in fc2's bias: pre-activations reach to 32."""
    network = float_network(MNIST / "quantize.yaml", np.float64)
    tensors = {name: tensor.copy() for name, tensor in network.tensors.items()}
    tensors["l0.fc1.w"][0], tensors["l0.fc1.b"][0] = 0, 14
    tensors["l0.fc2.b"] -= 14 * tensors["l0.fc2.w"][:, 0]
    far = FloatModel(network.model, tensors, eps=float(network.eps), mean=network.mean.tolist(),
                     std=network.std.tolist(), dtype=np.float64)  # fmt: skip
    with np.load(MNIST / "calibration.npz") as calibration, np.load(MNIST / "test.npz") as test:
        seen, unseen = calibration["images"][:64, ..., None], test["images"][:32, ..., None]
    made = quantize_network(far, seen, Options(), lambda line: None)
    for task in ("digit", "segment"):
        wanted = far.run(unseen, task)
        found = Golden(made).run(unseen, task).output * made.model.scales[f"tasks.{task}.output"]
        assert 10 * np.log10((wanted**2).sum() / ((found - wanted) ** 2).sum()) > 30
