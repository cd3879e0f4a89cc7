"""timm's Vision Transformers exported to ONNX: the same tensors as from the state dict; other graphs named by node.
tests/importers/test_onnx_graph.py has other exporters, precisions and endings."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import Overrides, load
from hwgen.importers.common import ImageSize
from tests.importers.timm_models import NORMALIZE, distilled, vit

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own


GIVEN = Overrides(normalize=NORMALIZE)


def exported(model: Any, directory: Path, **options: Any) -> Path:
    height, width = model.patch_embed.img_size
    path = directory / "model.onnx"
    torch.onnx.export(model, (torch.zeros(1, 3, height, width),), path, dynamo=False, input_names=["image"], **options)
    return path


MODELS = {
    "LayerScale": lambda: vit(init_values=0.5),
    "no qkv bias": lambda: vit(qkv_bias=False, num_heads=4),
    "mean pooling before the norm": lambda: vit(global_pool="avg"),
    "mean pooling behind the norm": lambda: vit(global_pool="avg", class_token=False, fc_norm=False),
    "no position of the class token": lambda: vit(no_embed_class=True),
    "rectangular": lambda: vit(img_size=(32, 48), patch_size=(8, 4)),
    "no head": lambda: vit(num_classes=0),
    "distilled": distilled,
    "register tokens": lambda: vit(reg_tokens=3),
    "register tokens without positions": lambda: vit(reg_tokens=3, no_embed_class=True),
    "a norm before the blocks": lambda: vit(pre_norm=True),
    "normalised q and k": lambda: vit(qk_norm=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_as_from_the_state_dict(tmp_path: Path, name: str) -> None:
    """Heads and image size, which a state dict does not tell, are the graph's."""
    model = MODELS[name]()
    imported = load(exported(model, tmp_path), overrides=GIVEN)
    height, width = model.patch_embed.img_size
    torch.save(model.state_dict(), tmp_path / "model.pth")
    given = GIVEN.model_copy(
        update={
            "heads": model.blocks[0].attn.num_heads, "image_size": ImageSize(height=height, width=width),
            "activation": "gelu", "pooling": model.global_pool,
        }
    )  # fmt: skip
    wanted = load(tmp_path / "model.pth", overrides=given)
    assert imported.model == wanted.model
    assert imported.source == "onnx"
    assert imported.tensors.keys() == wanted.tensors.keys()
    for tensor, values in wanted.tensors.items():
        np.testing.assert_array_equal(imported.tensors[tensor], values, tensor)


def test_epsilon(tmp_path: Path) -> None:
    """The graph states it; all LayerNorms must have the same."""
    model = vit(norm_layer=partial(torch.nn.LayerNorm, eps=1e-5))
    assert load(exported(model, tmp_path), overrides=GIVEN).eps == 1e-5
    model.blocks[1].norm2.eps = 1e-3
    assert message(exported(model, tmp_path)).startswith(
        "FILE: node /blocks/blocks.1/norm2/LayerNormalization\n  expected: LayerNorms of one epsilon, 1e-05\n"
    )


def test_norms_without_bias(tmp_path: Path) -> None:
    """That they are LayerNorms the graph states, too."""
    path = exported(vit(norm_layer=partial(torch.nn.LayerNorm, bias=False)), tmp_path)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":  # the exporter writes zeros
            del node.input[2:]
    onnx.save(model, path)
    imported = load(path, overrides=GIVEN)
    assert not imported.tensors["l0.n1.b"].any()


def test_dynamic_batch(tmp_path: Path) -> None:
    path = exported(vit(), tmp_path, dynamic_axes={"image": {0: "batch"}})
    assert load(path, overrides=GIVEN).model.heads == 2


# --- errors


def message(path: Path, overrides: Overrides | None = None) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path, overrides=overrides or GIVEN)
    return caught.value.text().replace(str(path), "FILE")


MEND = "\n  mend:     plain Vision Transformers are supported; docs/importing.md lists what may be between their layers"


def test_another_activation(tmp_path: Path) -> None:
    """The first block with it is named."""
    model = vit()
    model.blocks[1].mlp.act = torch.nn.ReLU()
    assert message(exported(model, tmp_path)) == (
        "FILE: node /blocks/blocks.1/mlp/act/Relu\n"
        "  expected: the values of layers.1.hidden in a ViT with these weights\n  found:    Relu" + MEND
    )


def test_another_attention(tmp_path: Path) -> None:
    path = exported(vit(scale_attn_norm=True), tmp_path)
    assert message(path).startswith("FILE: node /blocks/blocks.0/attn/norm/LayerNormalization\n")
    assert "expected: the linear layer blocks.0.attn.proj of a ViT" in message(path)
    wrong = vit()
    wrong.blocks[0].attn.scale = 0.3
    wrong.blocks[0].attn.fused_attn = False
    assert "expected: the values of layers.0.context in a ViT" in message(exported(wrong, tmp_path))


def test_another_pooling(tmp_path: Path) -> None:
    """The mean behind the norm is one that can be built; the largest is not."""
    model = vit(global_pool="avg", fc_norm=False)
    assert load(exported(model, tmp_path), overrides=GIVEN).model.tasks[0].head == "mean"
    imported = load(exported(vit(global_pool="max"), tmp_path), overrides=GIVEN)
    assert [task.head for task in imported.model.tasks] == ["none"]
    assert imported.warnings[0].startswith("the graph goes on behind its last block with something else than a ViT's")


def test_another_network(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3))
    path = tmp_path / "model.onnx"
    torch.onnx.export(network, (torch.zeros(1, 3, 8, 8),), path, dynamo=False)
    assert message(path) == (
        "FILE: node /2/Conv\n  expected: the LayerNormalization blocks.0.norm1 of a ViT\n  found:    Conv" + MEND
    )


def test_half_a_network(tmp_path: Path) -> None:
    path = exported(vit(), tmp_path)
    part = tmp_path / "part.onnx"
    onnx.utils.extract_model(path, part, ["image"], ["/blocks/blocks.0/norm2/LayerNormalization_output_0"])
    assert message(part) == (
        "FILE\n  expected: the linear layer blocks.0.mlp.fc1 of a ViT\n  found:    the end of the graph\n"
        "  mend:     export the whole model"
    )


def test_inputs(tmp_path: Path) -> None:
    path = exported(vit(), tmp_path, dynamic_axes={"image": {2: "height", 3: "width"}})
    assert message(path) == (
        "FILE\n  expected: an input of fixed size\n  found:    a dynamic one\n"
        "  mend:     give --image-size HEIGHTxWIDTH, or export with fixed sizes"
    )
    size = Overrides(normalize=NORMALIZE, image_size=ImageSize(height=32, width=32))
    assert load(path, overrides=size).model.image.height == 32
    path = exported(vit(), tmp_path)
    wrong = Overrides(normalize=NORMALIZE, image_size=ImageSize(height=32, width=40))
    assert "expected: a graph that ONNX's reference evaluator can run\n" in message(path, wrong)
    torch.onnx.export(torch.nn.Linear(3, 2), (torch.zeros(1, 3),), path, dynamo=False, input_names=["x"])
    assert message(path).startswith("FILE: x\n  expected: float32 [batch, channels, height, width]\n  found:    [1, 3]")


def test_broken_files(tmp_path: Path) -> None:
    path = exported(vit(), tmp_path)
    data = path.read_bytes()
    for part in (data[: len(data) // 2], b"text", b""):
        path.write_bytes(part)
        text = message(path)
        assert text.startswith("FILE\n  expected: a whole ONNX file\n  found:    ")
        assert text.endswith("\n  mend:     export it again")
    assert "expected: a whole ONNX file" in message(tmp_path / "lost.onnx")


def test_not_a_number(tmp_path: Path) -> None:
    model = vit()
    with torch.no_grad():
        model.blocks[0].mlp.fc1.bias[3] = float("nan")
    assert message(exported(model, tmp_path)).startswith("FILE: blocks.0.mlp.fc1.bias\n  expected: finite float32")


def test_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(vit(), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert message(path) == (
        "FILE\n  expected: the onnx package, to read this file\n  found:    no such module\n"
        "  mend:     pip install 'hwgen[onnx]'"
    )
