"""Folders of the hub as timm itself writes them: nothing is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hwgen.importers import ImageSize, Overrides, load
from tests.importers.libraries import difference, refusal, timm
from tests.importers.timm_models import randomize

#: Names, size of the image, what the heads read.
NETWORKS: dict[str, tuple[int, list[str]]] = {
    "test_vit": (32, ["class_token"]),
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": (32, ["class_token"]),
    "deit3_small_patch16_224.fb_in1k": (48, ["class_token"]),
    "deit_tiny_distilled_patch16_224.fb_in1k": (32, ["class_token", "distillation_token"]),
    "flexivit_small.1200ep_in1k": (48, ["class_token"]),
    "vit_small_patch14_dinov2.lvd142m": (42, ["none"]),
    "vit_base_patch32_siglip_gap_256.v2_webli": (64, ["none"]),
    "vit_medium_patch16_gap_240.sw_in12k": (32, ["mean"]),
    "vit_base_patch16_siglip_224.webli": (32, ["map"]),
    "vit_medium_patch16_clip_224.tinyclip_yfcc15m": (32, ["class_token"]),
    "vit_small_patch14_reg4_dinov2.lvd142m": (42, ["none"]),
    "vit_giant_patch14_dinov2.lvd142m": (42, ["none"]),
    "eva_large_patch14_196.in22k_ft_in22k_in1k": (28, ["mean_norm"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path: Path, name: str) -> None:
    side, heads = NETWORKS[name]
    torch.manual_seed(0)
    classes = {} if heads == ["none"] else {"num_classes": 5}
    sizes = {"img_size": side, "depth": 1, "embed_dim": 192}  # heads are the architecture's
    model = randomize(timm.create_model(name, pretrained=False, **sizes, **classes))
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    trained = model.pretrained_cfg
    forward = model.forward_features if heads == ["none"] else model
    imported = load(tmp_path)
    assert [task.head for task in imported.model.tasks] == heads
    assert imported.warnings == []
    assert difference(imported, forward, trained["mean"], trained["std"]) < 1e-4
    model.set_input_size(img_size=(2 * side, side))
    resampled = load(tmp_path, overrides=Overrides(image_size=ImageSize(height=2 * side, width=side)))
    assert difference(resampled, forward, trained["mean"], trained["std"]) < 1e-4


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("vit_small_patch16_18x2_224", "blocks.0.attns."),
    ],
)
def test_refused(tmp_path: Path, name: str, tensor: str) -> None:
    sizes = {"img_size": 56 if "14" in name else 32, "depth": 1, "embed_dim": 32, "num_heads": 2}
    model = timm.create_model(name, pretrained=False, **sizes)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    text = refusal(tmp_path)
    assert text.startswith(f"DIR: {tensor}")
    assert ": the machine has no operator for that\n" in text
