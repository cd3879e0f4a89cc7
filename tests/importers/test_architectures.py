"""timm's networks by their names: the table of architectures against timm's own constructors; folders of the hub as
`save_for_hf` writes them, of one block and small images, for which nothing is asked; the table of docs/importing.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from hwgen.importers import load
from hwgen.importers.architectures import ARCHITECTURES
from tests.importers.libraries import difference, refusal, timm
from tests.importers.timm_models import randomize
from tests.paths import ROOT


def test_architectures_are_those_of_timm() -> None:
    activations = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
    for name, known in ARCHITECTURES.items():
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, depth=1)
        block = model.blocks[0]
        assert known.heads == block.attn.num_heads, name
        assert known.activation == activations[type(block.mlp.act).__name__], name
        assert known.packed == (type(block.mlp).__name__ == "GluMlp" and not block.mlp.gate_last), name
        assert known.eps == block.norm1.eps, name
        assert known.post_norm == (type(block).__name__ == "ResPostBlock"), name


#: Name, size of the image, kind of head.
NETWORKS = {
    "vit_small_patch16_224": (32, "class_token"), "deit_tiny_patch16_224": (32, "class_token"),
    "deit3_small_patch16_224": (32, "class_token"), "deit_tiny_distilled_patch16_224": (32, "class_token"),
    "flexivit_small": (32, "class_token"), "vit_small_patch14_dinov2": (28, "none"),
    "vit_small_patch14_reg4_dinov2": (28, "none"), "vit_medium_patch16_reg4_gap_256": (32, "mean_norm"),
    "vit_medium_patch16_clip_224": (32, "class_token"), "vit_base_patch16_clip_quickgelu_224": (32, "class_token"),
    "eva_large_patch14_196": (28, "mean_norm"), "vit_base_patch16_siglip_224": (32, "map"),
    "vit_base_patch16_siglip_gap_224": (32, "none"), "vit_base_patch16_rpn_224": (32, "mean_norm"),
    "vit_giant_patch14_dinov2": (28, "none"),
}  # fmt: skip
#: And what a refusal names.
REFUSED = {
    "vit_small_r26_s32_224": "patch_embed", "vit_small_patch16_18x2_224": "attns",
}  # fmt: skip


def folder(name: str, size: int, directory: Path) -> Any:
    """Its network, saved there."""
    torch.manual_seed(0)
    arguments = {"img_size": size, "depth": 1}
    if name == "vit_small_r26_s32_224":
        del arguments["img_size"]
    model = randomize(timm.create_model(name, pretrained=False, **arguments))
    safetensors.torch.save_file(model.state_dict(), directory / "model.safetensors")
    timm.models._hub.save_config_for_hf(model, str(directory / "config.json"), model_args=arguments)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path: Path, name: str) -> None:
    size, head = NETWORKS[name]
    model = folder(name, size, tmp_path)
    imported = load(tmp_path)
    assert imported.model.tasks[0].head == head
    assert imported.model.image.height == size
    assert imported.warnings == []
    pixels = model.pretrained_cfg
    assert difference(imported, model if imported.model.tasks[0].outputs or head == "map" else model.forward_features,
                      pixels["mean"], pixels["std"]) < 1e-4  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    folder(name, 32, tmp_path)
    text = refusal(tmp_path)
    assert REFUSED[name] in text.splitlines()[0]
    assert "a network without" in text


def test_the_versions_of_the_table() -> None:
    """docs/importing.md says which versions were tried: those that the tests have."""
    table = (ROOT / "docs" / "importing.md").read_text().split("| library | networks |")[1].split("\n\n")[0]
    pins = dict(re.findall(r'"(\w+)==([\d.]+)"', (ROOT / "pyproject.toml").read_text()))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert {row[0] for row in rows} >= {"timm", "transformers", "torchvision", "ONNX"}
    for library, _, versions, state, command in rows:
        if library in pins:
            assert versions.split(",")[0] == pins[library], library
        for name, version in re.findall(r"(onnx\w*|torch) ([\d.]+\d)", versions):
            assert version == pins[name], name
        assert bool(command) == (state != "refused"), library
