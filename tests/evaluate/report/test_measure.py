"""The report finds what it is for: known noise, a broken layer, a flipped gate."""

import sys

import numpy as np
import pytest

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.evaluate.report import Report, report
from hwgen.network.description import Description, load
from hwgen.network.floatmodel import FloatModel
from hwgen.network.images import ANY_TASK
from hwgen.quantize import float_network
from hwgen.quantize.options import Options
from hwgen.quantize.pipeline import quantize_network
from tests.evaluate.report.helpers import changed
from tests.paths import MNIST
from tests.quantize.helpers import DENSE, quantized, random_network
from tests.random_model import random_images


def test_every_tapped_tensor_is_there_with_little_noise(made, found: Report) -> None:
    network, _, images = made
    taps: set[str] = set()
    for task in network.model.tasks:
        network.run(images, task.name, lambda name, value: taps.add(name))
    unscaled = {"raw.norm", "pixels"}  # the residual stream itself, the input
    assert set(found.tensors) == taps - unscaled
    for name, tensor in found.tensors.items():
        assert tensor.sqnr is not None and tensor.sqnr > 22, name
        # GELU's minimum, where many values are, may lie just below code 0.
        assert tensor.clipped <= (0.1 if name.endswith("hidden") else 0.01) * tensor.values, name
    assert found.images == 12
    assert found.tensors["embed"].values == 6 * images.shape[0] * network.model.tokens * 32


def test_noise_is_that_of_the_codes(made, found: Report) -> None:
    """One tensor by hand, from its scale."""
    network, description, images = made
    seen = {}
    network.run(images, "raw", lambda name, value: seen.setdefault(name, []).append(value))
    step = 2.0 ** -description.model.stream_bits[-1]
    got = Golden(description).run(images, "raw").output * step
    wanted = np.concatenate(seen["raw.output"])
    decibels = 10 * np.log10((wanted**2).sum() / ((got - wanted) ** 2).sum())
    assert found.tensors["raw.output"].sqnr == pytest.approx(decibels, abs=1e-6)
    row = found.tensors["raw.output"].as_dict()
    assert row["float_range"] == pytest.approx([wanted.min(), wanted.max()])
    assert row["code_range"] == [got.min() / step, got.max() / step]


def test_a_broken_layer_shows_where_it_is(made, found: Report) -> None:
    """A third of fc1's multipliers: everything before keeps its noise, hidden and what follows are lost."""
    network, description, images = made
    name = "layers.0.mlp.fc1.mult"
    broken = report(network, changed(description, lambda t: t.update({name: t[name] // 3})), images)
    for tensor in ("embed", "layers.0.q", "layers.0.attn", "layers.0.norm2"):
        assert broken.tensors[tensor].sqnr == found.tensors[tensor].sqnr
    assert broken.tensors["layers.0.hidden"].sqnr < 6
    assert broken.tensors["layers.0.mlp"].sqnr < found.tensors["layers.0.mlp"].sqnr - 6


def test_clipping_and_outlier_channels_show(made) -> None:
    """A float network of the same structure whose third channel of the embedding is 40 times as large."""
    network, description, images = made
    tensors = dict(network.tensors)
    for name in ("embed.w", "embed.b", "pos", "cls", "dist"):
        tensors[name] = tensors[name].copy()
        if name == "embed.w":
            tensors[name][3] *= 40
        else:
            tensors[name][..., 3] *= 40
    loud = FloatModel(network.model, tensors, eps=1e-6, mean=[120.0] * 3, std=[60.0] * 3, dtype=np.float64)
    row = report(loud, description, images).as_dict()["tensors"]["embed"]
    assert row["outliers"] == 1 and list(row["outlier_channels"]) == [3]
    assert row["largest_channel_ratio"] == row["outlier_channels"][3] > 15
    assert row["clipped_share"] > 0.003 and row["sqnr_db"] < 6


@pytest.mark.parametrize("bias", [40, -40])
def test_pre_activations_beyond_32_are_clipped(made, bias: float) -> None:
    """One channel of a layer and one of an expert: its own quantization cannot help. Below -32 nothing is lost."""
    network, _, images = made
    tensors = dict(network.tensors)
    for name in ("l0.fc1.b", "l1.e2.fc1.b"):
        tensors[name] = tensors[name].copy()
        tensors[name][5] = bias
    far = FloatModel(network.model, tensors, eps=1e-6, mean=[120.0] * 3, std=[60.0] * 3, dtype=np.float64)
    found = report(far, quantize_network(far, images, Options(), lambda line: None), images)
    for name, channels in (("layers.0.pre", 40), ("layers.1.expert.2.pre", 24)):
        tensor = found.tensors[name]
        assert tensor.clipped == (tensor.values / channels if bias > 0 else 0)
        assert tensor.code_high == 4095 if bias > 0 else tensor.code_low == -4096
    warned = [line.partition(":")[0] for line in found.warnings()]
    assert ("layers.0.pre" in warned and "layers.1.expert.2.pre" in warned) == (bias > 0)


def test_a_range_too_small_for_the_images_is_a_warning(made) -> None:
    """Calibrated on images with a tenth of the contrast: the first LayerNorm's outputs, in each task."""
    network, _, images = made
    grey = (120 + (images.astype(int) - 120) // 10).astype(np.uint8)
    found = report(network, quantize_network(network, grey, Options(), lambda line: None), images)
    assert found.tensors["layers.0.norm1"].clipped_error_share > 0.1
    line = next(line for line in found.warnings() if line.startswith("layers.0.norm1:"))
    assert all(f"{task.name} " in line for task in network.model.tasks)


def test_outputs_that_are_a_norm_end_where_it_ends() -> None:
    tasks = [{"name": "a", "head": "none", "norm": True}, {"name": "b", "head": "none", "norm": False}]
    network = random_network(3, layers=[DENSE], tasks=tasks)
    images = random_images(Description(network.model, {}), 8, 0)
    tensors = report(network, quantized(network, images // 8, ranges="minmax"), images).tensors
    assert tensors["a.output"].limits == tensors["a.norm"].limits == (-255, 255)
    assert tensors["a.output"].clipped == tensors["a.norm"].clipped > 0
    assert tensors["b.output"].limits == (-32768, 32767)


def test_gate_agreement(made, found: Report) -> None:
    """By sets of experts. Swapped in the gate of one task: none of its tokens agrees but those that have both."""
    network, description, images = made
    assert all(share > 0.8 for share in found.gates["layers.1"].values())
    taps = {}
    network.run(images, "one", lambda name, value: taps.setdefault(name, []).append(value))
    logits = np.concatenate(taps["layers.1.norm2"]).reshape(-1, 32) @ network.tensors["l1.gate0"].T
    experts = Golden(description).run(images, "one", keep=True).tensors["layers.1.experts"].reshape(-1, 2)
    same = [set(np.argsort(-row)[:2]) == set(pair) for row, pair in zip(logits, experts, strict=True)]
    assert found.gates["layers.1"]["one"] == np.mean(same)
    gate = "layers.1.moe.gate.one"

    def swap(tensors: dict[str, np.ndarray]) -> None:
        for part in ("weight", "bias", "mult", "shift"):
            tensors[f"{gate}.{part}"] = tensors[f"{gate}.{part}"][[1, 0, 3, 2]]

    swapped = report(network, changed(description, swap), images).gates["layers.1"]
    assert swapped["one"] < 0.5
    assert {task: share for task, share in swapped.items() if task != "one"} == {
        task: share for task, share in found.gates["layers.1"].items() if task != "one"
    }


def test_labels(made) -> None:
    """Labels that are the float network's own classes: its metrics are perfect, the integer model's nearly so."""
    network, description, images = made
    outputs = {task.name: network.run(images, task.name) for task in network.model.tasks}
    labels = {"one": outputs["one"].argmax(-1), "map": outputs["map"].argmax(-1), "mean": outputs["mean"] + 0.25}
    tasks = report(network, description, images, labels).as_dict()["tasks"]
    assert tasks["one"]["float"] == {"top1": 1}
    assert tasks["one"]["integer"]["top1"] == tasks["one"]["same_class_share"]
    assert tasks["map"]["float"] == {"top1": 1, "miou": 1} and tasks["map"]["integer"]["miou"] > 0.6
    assert tasks["mean"]["float"]["mae"] == pytest.approx(0.25)
    assert tasks["mean"]["integer"]["mae"] == pytest.approx(0.25, abs=0.05)
    assert "float" not in tasks["pooled"] and "same_class_share" not in tasks["raw"]


def test_wrong_labels_are_refused_before_any_work(made) -> None:
    network, description, images = made
    with pytest.raises(HwgenError) as caught:
        report(network, description, images, {ANY_TASK: np.full(12, 6)})
    assert caught.value.text() == "labels: labels\n  expected: classes 0..5 for the task one\n  found:    6..6"


def test_example() -> None:
    """The trained model: at least 25 dB in every tensor, 30 dB at the outputs, and the labels' metrics as without."""
    sys.path.insert(0, str(MNIST))
    import evaluate

    sys.path.remove(str(MNIST))
    images, labels = evaluate.labelled_images(100)
    lines: list[str] = []
    found = report(float_network(MNIST / "quantize.yaml"), load(MNIST / "model"), images, labels, lines.append)
    assert "comparing segment on image 1 of 100" in lines
    assert min(tensor.sqnr or 0 for tensor in found.tensors.values()) > 25
    for name in ("digit", "segment"):
        task = found.tasks[name]
        assert task["sqnr_db"] > 30 and task["same_class_share"] > 0.99
        assert abs(task["integer"]["top1"] - task["float"]["top1"]) < 0.01
    assert min(share for layer in found.gates.values() for share in layer.values()) > 0.93
