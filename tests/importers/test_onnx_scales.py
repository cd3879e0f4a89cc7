"""Quantized graphs: their integer weights become those of the description, bit for bit; where they cannot, a warning
says why. Rounding of activations is not the network's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime import quantization

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.importers import Imported, Normalize, Overrides, load
from hwgen.network import description
from hwgen.quantize import quantize_network
from hwgen.quantize.options import Options
from tests.command import run_command
from tests.importers.libraries import random_images
from tests.importers.test_onnx_graph import GIVEN, exported
from tests.importers.timm_models import vit

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own

#: With the same standard deviation for all colours, the patch embedding keeps its integers, too.
ALIKE = Overrides(normalize=Normalize(mean=[127.5] * 3, std=[127.5] * 3))
KEPT = "integer weights of {} layers are kept as they are in the graph; --no-keep-weights quantizes them anew"
QONNX = "qonnx.custom_op.general"


def rounded(model: Any, directory: Path, **options: Any) -> Path:
    """As onnxruntime does it."""
    path = exported(model, directory, opset_version=17)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"image": np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    kinds = {"weight_type": quantization.QuantType.QInt8, "activation_type": quantization.QuantType.QInt8}
    quantization.quantize_static(str(path), str(directory / "q.onnx"), Reader(), **(kinds | options))
    return directory / "q.onnx"


def integers(path: Path) -> dict[str, np.ndarray]:
    """Those of a QDQ graph, [out, in], by the name of the layer in the model, as `blocks/blocks.0/mlp/fc1`."""
    graph = onnx.load(path).graph
    made = {node.output[0]: node for node in graph.node}
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found = {}
    for node in graph.node:
        source = made.get(node.input[1]) if node.op_type in ("Conv", "MatMul", "Gemm") else None
        if source is not None and source.input[0] in constants:
            values, zero = constants[source.input[0]], constants[source.input[2]].astype(int)
            # The outputs' axis first, and pixels as the hardware has them.
            values = {"MatMul": np.transpose, "Conv": lambda one: one.transpose(0, 2, 3, 1)}.get(
                node.op_type, np.asarray)(values).astype(int)  # fmt: skip
            values = values.reshape(len(values), -1) - zero.reshape(-1, 1)
            found[node.name.strip("/").rpartition("/")[0]] = values
    return found


def quantized(imported: Imported, **options: Any) -> description.Description:
    images = random_images(imported, 16)
    return quantize_network(imported.network(), images, Options(**options), lambda line: None)


def expected(found: dict[str, np.ndarray], depth: int = 2) -> dict[str, np.ndarray]:
    """By the description's names."""
    wanted = {"embed": found["patch_embed/proj"], "tasks.classify.head": found["head"]}
    for index in range(depth):
        block, name = f"blocks/blocks.{index}", f"layers.{index}"
        parts = np.split(found[f"{block}/attn/qkv"], 3)
        wanted |= {f"{name}.attn.{part}": values for part, values in zip("qkv", parts)}
        wanted[f"{name}.attn.proj"] = found[f"{block}/attn/proj"]
        wanted |= {f"{name}.mlp.{part}": found[f"{block}/mlp/{part}"] for part in ("fc1", "fc2")}
    return wanted


def assert_kept(made: description.Description, wanted: dict[str, np.ndarray]) -> None:
    assert len(wanted) == sum(name.endswith(".weight") for name in made.tensors)
    for name, values in wanted.items():
        np.testing.assert_array_equal(made.tensors[f"{name}.weight"], values, name)


def sqnr(imported: Imported, made: description.Description) -> float:
    """Of the integer model's outputs, in dB."""
    images = random_images(imported, 8, 3)
    wanted = imported.network().run(images, "classify")
    found = made.model.scales["tasks.classify.output"] * Golden(made).run(images, "classify").output
    return float(10 * np.log10((wanted**2).mean() / ((wanted - found) ** 2).mean()))


@pytest.mark.parametrize("per_channel", [True, False])
def test_qdq(tmp_path: Path, per_channel: bool) -> None:
    """A scale for all is one per channel, too. What weights of their own lose is not lost again."""
    path = rounded(vit(), tmp_path, per_channel=per_channel)
    imported = load(path, overrides=ALIKE)
    assert KEPT.format(10) in imported.notes
    assert imported.warnings == []
    made = quantized(imported)
    assert_kept(made, expected(integers(path)))
    assert sqnr(imported, made) > 33


def test_the_description_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """By the command line, with a report; and anew."""
    path = rounded(vit(), tmp_path, per_channel=True)
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
    told = ("--checkpoint", path, "--calibration", tmp_path / "images.npz", "--mean", "0.5,0.5,0.5",
            "--std", "0.5,0.5,0.5")  # fmt: skip
    code, out, err = run_command(monkeypatch, capsys, "quantize", *told, "-o", tmp_path / "kept",
                                 "--report", tmp_path / "kept.json")  # fmt: skip
    assert code == 0, err
    assert_kept(description.load(tmp_path / "kept"), expected(integers(path)))
    assert "14 of 14 layers have the integers of the checkpoint" in " ".join(out.split())
    assert '"kept": true' in (tmp_path / "kept.json").read_text()
    assert '"kept": false' not in (tmp_path / "kept.json").read_text()
    code, out, err = run_command(monkeypatch, capsys, "quantize", *told, "-o", tmp_path / "anew", "--no-keep-weights",
                                 "--report", tmp_path / "anew.json")  # fmt: skip
    assert code == 0, err
    # Where the steps of the inputs are alike, the nearest codes are these again.
    assert "3 of 14 layers have the integers of the checkpoint" in " ".join(out.split())
    with pytest.raises(AssertionError):
        assert_kept(description.load(tmp_path / "anew"), expected(integers(path)))


def test_colours_of_different_deviations(tmp_path: Path) -> None:
    """They go into the weights of the patch embedding."""
    path = rounded(vit(), tmp_path, per_channel=True)
    imported = load(path, overrides=GIVEN)
    assert KEPT.format(9) in imported.notes
    assert len(imported.warnings) == 1
    assert imported.warnings[0].endswith(
        "_DequantizeLinear_Output are not kept, as the colours have different standard deviations, which go into the "
        "patch embedding's weights: they are read as floats, and quantized anew"
    )
    made, wanted = quantized(imported), expected(integers(path))
    embed = wanted.pop("embed")
    assert (made.tensors["embed.weight"] != embed).any()
    del made.tensors["embed.weight"]
    assert_kept(made, wanted)


def test_layer_scale_and_the_factor_of_scores(tmp_path: Path) -> None:
    """They go into the scales, signs into the integers."""
    model = vit(init_values=0.5)
    for block in model.blocks:
        block.attn.scale, block.attn.fused_attn = 1.0, False
        with torch.no_grad():
            block.ls2.gamma[::3] *= -1
    path = rounded(model, tmp_path, per_channel=True)
    imported = load(path, overrides=ALIKE)
    made, wanted = quantized(imported), expected(integers(path))
    for index, block in enumerate(model.blocks):
        for name, gamma in (("attn.proj", block.ls1.gamma), ("mlp.fc2", block.ls2.gamma)):
            wanted[f"layers.{index}.{name}"] = wanted[f"layers.{index}.{name}"] * gamma.sign().int().numpy()[:, None]
    assert_kept(made, wanted)


@pytest.mark.parametrize("changes", [
    {"global_pool": "map", "class_token": False}, {"global_pool": "avg", "fc_norm": False}, {"qk_norm": True},
    {"global_pool": "avg", "pre_norm": True, "reg_tokens": 2},
])  # fmt: skip
def test_other_structures(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = rounded(vit(**changes), tmp_path, per_channel=True)
    imported = load(path, overrides=ALIKE)
    assert imported.warnings == []
    made, found = quantized(imported), integers(path)
    wanted = expected(found)
    name = "tasks.classify.map"
    if imported.model.tasks[0].head == "map":
        wanted |= dict(zip((f"{name}.k", f"{name}.v"), np.split(found["attn_pool/kv"], 2)))
        wanted |= {f"{name}.proj": found["attn_pool/proj"], f"{name}.mlp.fc1": found["attn_pool/mlp/fc1"],
                   f"{name}.mlp.fc2": found["attn_pool/mlp/fc2"]}  # fmt: skip
    for own in ("stream.weight", "tasks.classify.pool.weight"):  # identities of hwgen's own
        made.tensors.pop(own, None)
    assert_kept(made, wanted)
    assert sqnr(imported, quantized(imported)) > 25


def test_asymmetric(tmp_path: Path) -> None:
    model = vit()
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight.abs_()
    path = rounded(model, tmp_path, per_channel=False, extra_options={"WeightSymmetric": False})
    imported = load(path, overrides=ALIKE)
    wide = {name: values for name, values in integers(path).items() if np.abs(values).max() > 127}
    assert wide
    assert len(imported.given) == 10 - len(wide)
    text = "\n".join(imported.warnings)
    low, high = (int(one) for one in (next(iter(wide.values())).min(), next(iter(wide.values())).max()))
    assert f"are not kept, as they are {low} to {high}, and hwgen's -127 to 127: they are read as floats" in text


def test_integers_inside_operators(tmp_path: Path) -> None:
    path = rounded(vit(), tmp_path, quant_format=quantization.QuantFormat.QOperator)
    with pytest.raises(HwgenError) as caught:
        load(path, overrides=GIVEN)
    assert "that are rounded beside the operators (QDQ, QONNX)\n  found:    QLinear" in caught.value.text()


# --- Quant nodes of QONNX and Brevitas


def with_quant_nodes(directory: Path, domain: str, bits: int, zero: int = 0, narrow: int = 1,
                     axis: int = 0) -> tuple[Path, dict[str, np.ndarray]]:  # fmt: skip
    """A graph with them on activations and weights, with a scale along outputs (axis 0 is the input's); its integers
    [out, in] by node."""
    path = exported(vit(), directory, opset_version=17)
    graph = onnx.load(path)
    weights = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    nodes, codes, limit = [], {}, 2 ** (bits - 1) - 1
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            if node.op_type != "MatMul" or (name in weights and weights[name].ndim != 2):
                continue
            scale = np.float32(0.1)
            if name in weights:
                scale = np.abs(weights[name]).max(axis, keepdims=True) / (limit + (0 if narrow else 0.5))
            made = {"s": scale, "z": np.float32(zero), "b": np.float32(bits if name in weights else 8)}
            own = f"{node.name}.{place}"
            for part, value in made.items():
                graph.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), f"{own}.{part}"))
            kind = {"domain": domain, "signed": 1, "narrow": narrow, "rounding_mode": "ROUND"}
            nodes.append(helper.make_node("Quant", [name, *(f"{own}.{part}" for part in made)], [f"{own}.q"], **kind))
            if name in weights:
                top = np.clip(np.rint(weights[name] / scale + zero), -limit - 1 + narrow, limit) - zero
                codes[node.name.strip("/").removesuffix("/MatMul")] = top.astype(int).T
            node.input[place] = f"{own}.q"
        nodes.append(node)
    kept = copy.deepcopy(nodes)
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    graph.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(graph, path)
    return path, codes


def quant_layers(codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As `expected`, of the layers that are products."""
    nothing = {"patch_embed/proj": np.zeros(0), "head": np.zeros(0)}
    wanted = expected(nothing | codes)
    return {name: values for name, values in wanted.items() if values.size}


@pytest.mark.parametrize(("domain", "bits", "zero"), [(QONNX, 8, 0), ("onnx.brevitas", 4, 0), (QONNX, 8, 3),
                                                      ("onnx.brevitas", 6, 0), (QONNX, 2, 0)])  # fmt: skip
def test_quant_nodes(tmp_path: Path, domain: str, bits: int, zero: int) -> None:
    """Of up to four bits are four, of more eight; an offset is no matter as long as what is left is within ±127."""
    path, codes = with_quant_nodes(tmp_path, domain, bits, zero)
    imported = load(path, overrides=GIVEN)
    assert KEPT.format(8) in imported.notes
    assert imported.warnings == []
    made, wanted = quantized(imported), quant_layers(codes)
    assert len(wanted) == 12
    for name, values in wanted.items():
        np.testing.assert_array_equal(made.tensors[f"{name}.weight"], values, name)
        assert made.model.weight_bits.get(name, 8) == (4 if bits <= 4 else 8)


def test_four_bits_that_reach_lower(tmp_path: Path) -> None:
    """hwgen's are -7 to 7: -8 needs eight."""
    path, codes = with_quant_nodes(tmp_path, QONNX, 4, narrow=0)
    wanted = quant_layers(codes)
    low = {name for name, values in wanted.items() if values.min() < -7}
    assert low
    made = quantized(load(path, overrides=GIVEN))
    for name, values in wanted.items():
        np.testing.assert_array_equal(made.tensors[f"{name}.weight"], values, name)
        assert name not in low or name not in made.model.weight_bits


def test_eight_bits_that_reach_lower(tmp_path: Path) -> None:
    path, codes = with_quant_nodes(tmp_path, QONNX, 8, narrow=0)
    assert min(values.min() for values in codes.values()) == -128
    text = "\n".join(load(path, overrides=GIVEN).warnings)
    assert "are not kept, as they are -128 to 127, and hwgen's -127 to 127: they are read as floats" in text


def test_scales_along_inputs(tmp_path: Path) -> None:
    """As many as outputs, in a square layer: seen by the values."""
    path, _ = with_quant_nodes(tmp_path, QONNX, 8, axis=1)
    imported = load(path, overrides=GIVEN)
    assert not imported.given
    text = "\n".join(imported.warnings)
    assert "as their scales are [128, 1], not one per output channel" in text
    assert "as their scales are not those of output channels" in text


def test_bits_that_the_user_asks_for(tmp_path: Path) -> None:
    """They are another's than the graph's."""
    path = rounded(vit(), tmp_path, per_channel=True)
    imported = load(path, overrides=ALIKE)
    wanted = expected(integers(path))
    made = quantized(imported, weight_bits={"*.fc1": 4})
    assert sorted(made.model.weight_bits) == ["layers.0.mlp.fc1", "layers.1.mlp.fc1"]
    np.testing.assert_array_equal(made.tensors["layers.0.mlp.fc2.weight"], wanted["layers.0.mlp.fc2"])


def test_an_average_that_they_leave_no_room_for(tmp_path: Path) -> None:
    imported = load(rounded(vit(), tmp_path, per_channel=True), overrides=ALIKE)
    with pytest.raises(HwgenError) as caught:
        quantized(imported, mean_bits=6)
    assert "found:    6\n" in caught.value.text()
    assert caught.value.text().endswith("or quantize the graph's integer weights anew (--no-keep-weights)")


class Apart(torch.nn.Module):
    """timm's attention of two heads with three layers, of which that of q comes last."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.v, self.k, self.q = (torch.nn.Linear(128, 128) for _ in range(3))
        self.proj = attention.proj

    def forward(self, x: Any, **others: Any) -> Any:
        v, k, q = (layer(x).reshape(1, 17, 2, 64).transpose(1, 2) for layer in (self.v, self.k, self.q))
        made = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(made.transpose(1, 2).reshape(1, 17, 128))


def test_q_k_and_v_apart(tmp_path: Path) -> None:
    model = vit()
    for block in model.blocks:
        block.attn = Apart(block.attn).eval()
    path = rounded(model, tmp_path, per_channel=True)
    found = integers(path)
    for index in range(2):
        name = f"blocks/blocks.{index}/attn"
        found[f"{name}/qkv"] = np.concatenate([found[f"{name}/{part}"] for part in "qkv"])
    assert_kept(quantized(load(path, overrides=ALIKE)), expected(found))
