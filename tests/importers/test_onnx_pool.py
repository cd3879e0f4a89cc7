"""Graphs of timm's and transformers' networks with more than the plain ViT has, as each exporter writes them, with
names and without: attention pooling, register tokens, norms before the blocks and of q and k, heads of two tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxsim
import pytest
import torch

from hwgen.importers import load
from tests.importers.huggingface_models import network, siglip, siglip_classifier
from tests.importers.libraries import difference
from tests.importers.test_onnx_graph import GIVEN, exported
from tests.importers.timm_models import vit

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' own


class Only(torch.nn.Module):
    """One output of a network of transformers."""

    def __init__(self, inner: Any, output: str) -> None:
        super().__init__()
        self.inner, self.output = inner, output

    def forward(self, x: Any) -> Any:
        return getattr(self.inner(x), self.output)


def hugging(kind: str, config: str, output: str, **changes: Any) -> Any:
    return Only(network(kind, config, **changes), output).eval()


#: What is exported, and the heads and numbers of tokens before the patches that are found.
NETWORKS: dict[str, tuple[Callable[[], Any], list[str], int]] = {
    "SigLIP": (lambda: hugging("SiglipVisionModel", "SiglipVisionConfig", "pooler_output"), ["map"], 0),
    "SigLIP of two towers": (lambda: Only(siglip().vision_model, "pooler_output").eval(), ["map"], 0),
    "SigLIP's classifier": (lambda: Only(siglip_classifier(), "logits").eval(), ["mean"], 0),
    "timm's SigLIP": (lambda: vit(global_pool="map", class_token=False), ["map"], 0),
    "timm's SigLIP without head": (lambda: vit(global_pool="map", class_token=False, num_classes=0), ["map"], 0),
    "attention pooling beside a class token": (lambda: vit(global_pool="map", qkv_bias=False), ["map"], 1),
    "registers": (lambda: vit(reg_tokens=3), ["class_token"], 4),
    "a register": (lambda: vit(reg_tokens=1), ["class_token"], 2),
    "registers without class token": (
        lambda: vit(reg_tokens=3, class_token=False, global_pool="avg"), ["mean_norm"], 3,
    ),
    "norm before the blocks": (lambda: vit(pre_norm=True), ["class_token"], 1),
    "all of it": (
        lambda: vit(pre_norm=True, reg_tokens=2, no_embed_class=True, qk_norm=True, init_values=0.5),
        ["class_token"], 3,
    ),
    "CLIP": (lambda: hugging("CLIPVisionModelWithProjection", "CLIPVisionConfig", "image_embeds"), ["class_token"], 1),
    "DINOv2's classifier": (
        lambda: hugging("Dinov2ForImageClassification", "Dinov2Config", "logits", num_labels=6),
        ["class_token", "mean"], 1,
    ),
}  # fmt: skip
#: These can be exported with dynamo only.
DYNAMO: dict[str, tuple[Callable[[], Any], list[str], int]] = {
    "DINOv2 with registers": (
        lambda: hugging("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", "last_hidden_state"), ["none"], 5,
    ),
    "DINOv2's classifier with registers": (
        lambda: hugging("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", "logits"),
        ["class_token", "mean"], 5,
    ),
}  # fmt: skip


def nameless(path: Path) -> None:
    """All names in a file become numbers, in another order than that of the graph."""
    graph = onnx.load(path)
    every = {name for node in graph.graph.node for name in (*node.input, *node.output)}
    every |= {one.name for one in (*graph.graph.initializer, *graph.graph.input, *graph.graph.output)}
    number = {name: str(place) if name else "" for place, name in enumerate(sorted(every, reverse=True))}
    for node in graph.graph.node:
        node.name = ""
        node.input[:] = [number[name] for name in node.input]
        node.output[:] = [number[name] for name in node.output]
        node.ClearField("metadata_props")
    for one in (*graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        one.name = number[one.name]
    del graph.graph.value_info[:]
    onnx.save(graph, path)


def check(path: Path, model: Any, heads: list[str], prefix: int) -> None:
    imported = load(path, overrides=GIVEN)
    assert [task.head for task in imported.model.tasks] == heads
    assert imported.model.prefix == prefix
    assert imported.warnings == []
    assert difference(imported, model) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_torchscript(tmp_path: Path, name: str) -> None:
    make, heads, prefix = NETWORKS[name]
    model = make()
    path = exported(model, tmp_path, opset_version=14)
    check(path, model, heads, prefix)
    nameless(path)
    check(path, model, heads, prefix)


@pytest.mark.parametrize("name", ["SigLIP", "timm's SigLIP", "CLIP", "all of it", *DYNAMO])
def test_dynamo(tmp_path: Path, name: str) -> None:
    make, heads, prefix = (NETWORKS | DYNAMO)[name]
    model = make()
    path = exported(model, tmp_path, dynamo=True, verbose=False)
    nameless(path)
    check(path, model, heads, prefix)


@pytest.mark.parametrize("name", ["SigLIP", "timm's SigLIP", "all of it"])
def test_simplified(tmp_path: Path, name: str) -> None:
    make, heads, prefix = NETWORKS[name]
    model = make()
    path = exported(model, tmp_path)
    simple, _ = onnxsim.simplify(onnx.load(path))
    onnx.save(simple, path)
    check(path, model, heads, prefix)


@pytest.mark.parametrize("name", ["SigLIP", "timm's SigLIP", "registers", "all of it"])
def test_several_images_at_once(tmp_path: Path, name: str) -> None:
    make, heads, prefix = NETWORKS[name]
    model = make()
    check(exported(model, tmp_path, torch.zeros(3, 3, 32, 32)), model, heads, prefix)


def test_another_factor_of_the_pooling_and_of_normed_scores(tmp_path: Path) -> None:
    """It goes into the query, and into the norm of q."""
    model = vit(global_pool="map", qk_norm=True)
    for attention in (model.attn_pool, *(block.attn for block in model.blocks)):
        attention.scale, attention.fused_attn = 1.0, False
    check(exported(model, tmp_path), model, ["map"], 1)


def test_norms_of_q_and_k_in_another_order(tmp_path: Path) -> None:
    model = vit(qk_norm=True)
    path = exported(model, tmp_path, opset_version=17)
    graph = onnx.load(path)
    places = {node.name.split("/")[-2]: place for place, node in enumerate(graph.graph.node)
              if node.op_type == "LayerNormalization" and "/blocks.0/" in node.name}  # fmt: skip
    q, k = (onnx.NodeProto.FromString(graph.graph.node[places[name]].SerializeToString())
            for name in ("q_norm", "k_norm"))  # fmt: skip
    graph.graph.node[places["q_norm"]].CopyFrom(k)
    graph.graph.node[places["k_norm"]].CopyFrom(q)
    onnx.save(graph, path)
    check(path, model, ["class_token"], 1)
