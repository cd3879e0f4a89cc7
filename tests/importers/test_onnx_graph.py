"""Graphs as people hold them: other libraries and exporters, old opsets, half precision, fused operators, normalisation
inside, something else behind the blocks. Each import must compute what the network itself does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxsim
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers import optimizer

from hwgen.common.errors import HwgenError
from hwgen.importers import Imported, Overrides, load
from tests.importers.libraries import timm  # noqa: F401  torchvision and transformers can be imported then
from tests.importers.timm_models import MEAN, NORMALIZE, STD, pixels, randomize, vit

import transformers  # isort: skip
from torchvision.models.vision_transformer import VisionTransformer  # isort: skip

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' own

GIVEN = Overrides(normalize=NORMALIZE)


def exported(model: Any, directory: Path, example: Any = None, **options: Any) -> Path:
    path = directory / "model.onnx"
    example = torch.zeros(1, 3, 32, 32) if example is None else example
    torch.onnx.export(model, (example,), path, **({"dynamo": False, "input_names": ["image"]} | options))
    return path


def error(imported: Imported, run: Any) -> float:
    """Largest difference from the network's own outputs [B, rows..., outputs], as a share of the largest."""
    image = imported.model.image
    images = np.random.default_rng(1).integers(0, 256, (2, image.height, image.width, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = np.asarray(run(images))
    found = imported.network(np.float64).run(images, imported.model.tasks[0].name)
    return float(np.abs(found.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())


def of(model: Any) -> Any:
    """The network on normalised pixels."""
    return lambda images: model(pixels(images)).float().numpy()


def torchvision_vit(**changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 96,
             "num_classes": 10}  # fmt: skip
    return randomize(VisionTransformer(**(sizes | changes)))


def transformers_vit() -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
                                    image_size=32, patch_size=8, num_labels=10)  # fmt: skip
    model = randomize(transformers.ViTForImageClassification(config))

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Any) -> Any:
            return self.inner(x).logits

    return Logits().eval()


# --- exporters and opsets


@pytest.mark.parametrize("opset", [13, 14, 16, 17, 20])
def test_opsets(tmp_path: Path, opset: int) -> None:
    """LayerNorm and GELU are in pieces in the older ones."""
    model = vit(init_values=0.5)
    model.blocks[0].attn.fused_attn = model.blocks[1].attn.fused_attn = False  # q is scaled, not the scores
    imported = load(exported(model, tmp_path, opset_version=opset), overrides=GIVEN)
    assert error(imported, of(model)) < 1e-4
    assert (imported.eps, imported.activation, imported.warnings) == (1e-6, "gelu", [])


@pytest.mark.parametrize("library", ["torchvision", "transformers"])
@pytest.mark.parametrize("opset", [14, 17])
def test_other_libraries(tmp_path: Path, library: str, opset: int) -> None:
    """torchvision's tokens are not [1, N, D], transformers' q, k and v come apart."""
    model = torchvision_vit() if library == "torchvision" else transformers_vit()
    imported = load(exported(model, tmp_path, opset_version=opset), overrides=GIVEN)
    assert imported.model.heads == 4
    assert error(imported, of(model)) < 1e-4


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_dynamo(tmp_path: Path, library: str) -> None:
    model = {"timm": vit, "torchvision": torchvision_vit, "transformers": transformers_vit}[library]()
    batch = torch.export.Dim("batch", min=1, max=8)
    options = {"dynamo": True, "dynamic_shapes": ({0: batch},), "verbose": False}
    path = exported(model, tmp_path, torch.zeros(2, 3, 32, 32), **options)
    imported = load(path, overrides=GIVEN)
    assert error(imported, of(model)) < 1e-4


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_simplified(tmp_path: Path, library: str) -> None:
    model = {"timm": vit, "torchvision": torchvision_vit, "transformers": transformers_vit}[library]()
    simple, _ = onnxsim.simplify(onnx.load(exported(model, tmp_path)))
    onnx.save(simple, tmp_path / "model.onnx")
    assert error(load(tmp_path / "model.onnx", overrides=GIVEN), of(model)) < 1e-4


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_optimized_by_onnxruntime(tmp_path: Path, library: str) -> None:
    """Attention, LayerNorm and GELU are fused with what is before them."""
    model, heads = (vit(), 2) if library == "timm" else (transformers_vit(), 4)
    path = exported(model, tmp_path, opset_version=17)
    fused = optimizer.optimize_model(str(path), model_type="vit", num_heads=heads, hidden_size=64 * (heads == 4) or 128)
    fused.save_model_to_file(str(path))
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "SkipLayerNormalization" in kinds
    assert error(load(path, overrides=GIVEN), of(model)) < 1e-4


def test_another_factor_of_the_scores(tmp_path: Path) -> None:
    """It goes into q."""
    model = vit()
    for block in model.blocks:
        block.attn.scale, block.attn.fused_attn = 1.0, False
    assert error(load(exported(model, tmp_path), overrides=GIVEN), of(model)) < 1e-4


def test_interleaved_heads(tmp_path: Path) -> None:
    """q, k and v of each head side by side, as in some Megatron's."""
    model = vit()
    state = model.state_dict()
    path = exported(model, tmp_path)
    graph = onnx.load(path)
    order = np.arange(384).reshape(3, 2, 64).transpose(1, 0, 2).ravel()
    for node in graph.graph.node:
        for one in graph.graph.initializer:
            if one.name in node.input and node.op_type == "MatMul" and list(one.dims) == [128, 384]:
                one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[:, order], one.name))
    for one in graph.graph.initializer:
        if "qkv.bias" in one.name:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[order], one.name))
    reshapes = [node for node in graph.graph.node if node.op_type == "Reshape" and "attn" in node.name]
    shapes = {one.name: one for one in graph.graph.initializer}
    for node in list(graph.graph.node):
        if node.op_type == "Reshape" and "attn" in node.name and node.name.endswith("Reshape"):
            constant = next(one for one in graph.graph.node if one.output[0] == node.input[1])
            constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([1, 17, 2, 3, 64])))
        if node.op_type == "Transpose" and len(node.attribute[0].ints) == 5:
            node.attribute[0].ints[:] = [3, 0, 2, 1, 4]
    assert reshapes and shapes is not None
    onnx.save(graph, path)
    imported = load(path, overrides=GIVEN)
    np.testing.assert_array_equal(imported.tensors["l1.qkv.w"], state["blocks.1.attn.qkv.weight"].numpy())


def test_several_images_at_once(tmp_path: Path) -> None:
    model = vit()
    assert error(load(exported(model, tmp_path, torch.zeros(3, 3, 32, 32)), overrides=GIVEN), of(model)) < 1e-4


# --- precision and pixels


def test_half_precision(tmp_path: Path) -> None:
    model = vit(init_values=0.5).half()
    imported = load(exported(model, tmp_path, torch.zeros(1, 3, 32, 32, dtype=torch.float16)), overrides=GIVEN)
    wanted = model.state_dict()["blocks.1.mlp.fc1.weight"].float().numpy()
    np.testing.assert_array_equal(imported.tensors["l1.fc1.w"], wanted)
    assert error(imported, of(model.float())) < 1e-4


class Normalized(torch.nn.Module):
    """With the normalisation inside; `unit`: of the pixels."""

    def __init__(self, unit: float, last: bool = False) -> None:
        super().__init__()
        self.model, self.last = vit(), last
        self.register_buffer("mean", torch.tensor(MEAN * unit, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(STD * unit, dtype=torch.float32)[:, None, None])

    def forward(self, x: Any) -> Any:
        x = x.permute(0, 3, 1, 2) if self.last else x
        return self.model((x.float() - self.mean) / self.std)


@pytest.mark.parametrize(
    ("unit", "last", "example", "said"),
    [
        (1, False, torch.zeros(1, 3, 32, 32), "in 0..1"), (255, False, torch.zeros(1, 3, 32, 32), "in codes 0..255"),
        (255, True, torch.zeros(1, 32, 32, 3, dtype=torch.uint8), "in codes 0..255"),
        (1, True, torch.zeros(1, 32, 32, 3), "in 0..1"),
    ],
)  # fmt: skip
def test_normalisation_inside(tmp_path: Path, unit: float, last: bool, example: Any, said: str) -> None:
    """It need not be said then; pixels may come as bytes and with colours last."""
    model = Normalized(unit, last).eval()
    imported = load(exported(model, tmp_path, example))
    np.testing.assert_allclose(imported.mean, 255 * MEAN, rtol=1e-4)
    np.testing.assert_allclose(imported.std, 255 * STD, rtol=1e-4)
    numbers = "mean 0.485,0.456,0.406 std 0.229,0.224,0.225"
    assert imported.notes[0] == f"normalisation inside the graph: {numbers}, of pixels {said}"
    assert error(imported, of(model.model)) < 1e-4


# --- endings


class Decoder(torch.nn.Module):
    """Convolutions on the tokens, as for dense tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.decode = vit(), torch.nn.Conv2d(128, 5, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = self.model.forward_features(x)[:, 1:]
        return self.decode(x.transpose(1, 2).reshape(-1, 128, 4, 4))


def test_decoder(tmp_path: Path) -> None:
    """It stays with the host; the network ends behind its last block."""
    model = Decoder().eval()
    imported = load(exported(model, tmp_path), overrides=GIVEN)
    assert [(task.head, task.norm) for task in imported.model.tasks] == [("none", False)]
    assert imported.warnings[0].startswith(
        "the graph goes on behind its last block with something else than a ViT's head, from node /norm/Layer"
    )
    assert imported.warnings[0].endswith(
        "(LayerNormalization, Conv): that is left to the host; the tokens behind the last block are the output"
    )
    kept = []
    hook = model.model.blocks[-1].register_forward_hook(lambda module, given, made: kept.append(made))
    assert error(imported, lambda images: (model(pixels(images)), kept[-1])[1]) < 1e-4
    hook.remove()


def test_a_block_of_another_kind_is_no_decoder(tmp_path: Path) -> None:
    model = vit(depth=3)
    model.blocks[1].attn.q_norm = torch.nn.LayerNorm(64)
    text = message(exported(model.eval(), tmp_path))
    assert "expected: a block as those before it, or the head of a ViT\n  found:    LayerNormalization" in text
    assert "node /blocks/blocks.1/norm1/LayerNormalization" in text


def message(path: Path) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path, overrides=GIVEN)
    return caught.value.text().replace(str(path), "FILE")


def test_hostile_files(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "found:    a git-LFS pointer, not the file itself\n" in message(path)
    graph = onnx.load(exported(vit(), tmp_path))
    tensor = graph.graph.initializer[0]
    tensor.dims[:] = [10**6, 10**6]
    onnx.save(graph, path)
    assert "expected: " in message(path)
    other = helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1])
    graph = onnx.load(exported(vit(), tmp_path))
    graph.graph.input.append(other)
    onnx.save(graph, path)
    assert message(path).startswith("FILE: mask\n  expected: one input, the image image\n  found:    another")
