"""The resize that files beside a checkpoint state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import load
from hwgen.importers.resize import stated_resize
from hwgen.network.description import Image
from hwgen.network.resize import Resize
from tests.importers.timm_models import told, vit

IMAGE = Image(height=224, width=224, channels=3)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"size": 224, "resample": 2}, Resize(None, "bilinear")),
        ({"size": {"height": 224, "width": 224}}, Resize(None, "bilinear")),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224}, "resample": 3},
         Resize(256, "bicubic")),
        ({"size": 256, "do_center_crop": True, "crop_size": 224, "resample": 3}, Resize(256, "bicubic")),
        ({"size": {"height": 256, "width": 256}, "do_center_crop": True, "resample": 3}, Resize(256, "bicubic")),
        ({"size": {"shortest_edge": 200}, "do_center_crop": True, "resample": 3}, Resize(None, "bicubic")),
        ({"do_resize": False, "size": 224}, None), ({"size": 224, "resample": 9}, None), ({}, None),
        ("text", None),
    ],
)  # fmt: skip
def test_transformers(tmp_path: Path, config: Any, wanted: Resize | None) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert stated_resize(tmp_path, IMAGE) == (wanted and (wanted, "preprocessor_config.json"))


@pytest.mark.parametrize(
    ("trained", "wanted"),
    [
        ({"crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "center"}, Resize(248, "bicubic")),
        ({"crop_pct": 1.0, "interpolation": "bilinear"}, Resize(224, "bilinear")),
        ({"interpolation": "bicubic"}, Resize(256, "bicubic")),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, Resize()), ({"crop_pct": 7}, None),
        ({"interpolation": "random"}, None), ({"mean": [0.5]}, None),
    ],
)  # fmt: skip
def test_timm(tmp_path: Path, trained: dict[str, Any], wanted: Resize | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": trained}))
    assert stated_resize(tmp_path / "model.pth", IMAGE) == (wanted and (wanted, "config.json: pretrained_cfg"))


def test_of_an_import(tmp_path: Path) -> None:
    """What is said comes first."""
    path = tmp_path / "model.pth"
    torch.save(vit().state_dict(), path)
    assert load(path, overrides=told()).resize == Resize()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 48, "do_center_crop": True, "resample": 3}))
    imported = load(path, overrides=told())
    assert imported.resize == Resize(48)
    assert imported.notes[-1] == (
        "resize 48:bicubic: stated by preprocessor_config.json, for pictures of another size"
    )
    assert load(path, overrides=told(resize="40:box")).resize == Resize(40, "box")
    with pytest.raises(HwgenError, match=r"resize\n  expected: at least 32 pixels, of which 32x32 are cropped"):
        load(path, overrides=told(resize="30"))
