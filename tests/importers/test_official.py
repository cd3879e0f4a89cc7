"""Files as the repositories of DINO, DINOv2, MAE, MoCo-v3 and iBOT save them: timm's networks, with what their training
adds to the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwgen.importers import ImageSize, Imported, Overrides, load
from tests.importers.libraries import difference, refusal
from tests.importers.timm_models import timm, vit

NOISE = torch.ones(3, 3)


def encoder(**changes: Any) -> Any:
    """Two heads of 64, as all of these networks but some have."""
    return vit(**({"num_classes": 0} | changes))


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "checkpoint.pth")
    return folder / "checkpoint.pth"


def check(imported: Imported, model: Any, source: str) -> None:
    assert imported.source == source
    assert difference(imported, model) < 1e-4
    (warning,) = imported.warnings
    assert warning.startswith("normalize mean 0.485,0.456,0.406 std 0.229,0.224,0.225: ImageNet's, as in ")


def test_dino(tmp_path: Path) -> None:
    """The released full checkpoint: student and teacher, wrapped, with their heads."""
    model = encoder()
    teacher = prefixed("backbone.", model.state_dict()) | {
        "head.mlp.0.weight": NOISE, "head.mlp.0.bias": NOISE[0], "head.last_layer.weight_g": NOISE,
        "head.last_layer.weight_v": NOISE,
    }  # fmt: skip
    student = prefixed("module.backbone.", encoder().state_dict())
    imported = load(saved({"student": student, "teacher": teacher, "epoch": 3}, tmp_path))
    check(imported, model, "dino")
    assert "the heads of the training left out (4 tensors)" in imported.notes
    assert "heads 2: as in DINO's code for this width; else give --heads" in imported.notes


def test_names_that_are_timms(tmp_path: Path) -> None:
    """Whose they are must be said, then nothing is asked for."""
    model = encoder()
    path = saved(model.state_dict(), tmp_path)
    assert "  found:    no value given\n" in refusal(path)
    for format in ("dino", "dinov2", "ibot", "mae", "mocov3"):
        check(load(path, format), model, format)


@pytest.mark.parametrize("prefix", ["", "teacher.backbone."])
@pytest.mark.parametrize("chunks", [False, True])
def test_dinov2(tmp_path: Path, prefix: str, chunks: bool) -> None:
    """As released, or as trained: of teacher and student, in chunks of blocks."""
    model = encoder(init_values=0.5)
    state = {
        (name.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1.") if chunks else name): value
        for name, value in model.state_dict().items()
    }
    state = prefixed(prefix, state | {"mask_token": torch.ones(1, 128)})
    if prefix:
        state |= prefixed("student.backbone.", encoder(init_values=0.5).state_dict())
        state |= {"teacher.dino_head.mlp.0.weight": NOISE, "student.dino_head.mlp.0.weight": NOISE,
                  "teacher.ibot_head.mlp.0.weight": NOISE, "dino_loss.center": NOISE}  # fmt: skip
    imported = load(saved(state, tmp_path))
    check(imported, model, "dinov2")
    assert "the embedding of masked patches left out (1 tensor)" in imported.notes


@pytest.mark.parametrize("chunks", [False, True])
def test_dinov2_with_swiglu(tmp_path: Path, chunks: bool) -> None:
    """DINOv2's giant: w12, of which the first half is activated, and w3."""
    model = encoder(init_values=0.5, mlp_layer=timm.layers.SwiGLUPacked, act_layer=torch.nn.SiLU)
    state = {"mask_token": torch.ones(1, 128)}
    for name, value in model.state_dict().items():
        new = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        state[new.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1.") if chunks else new] = value
    check(load(saved(state, tmp_path)), model, "dinov2")


def test_dinov2_with_its_linear_head(tmp_path: Path) -> None:
    model = encoder(init_values=0.5)
    torch.manual_seed(1)
    head = torch.nn.Linear(256, 5)
    state = prefixed("backbone.", model.state_dict() | {"mask_token": torch.ones(1, 128)})
    imported = load(saved(state | prefixed("linear_head.", head.state_dict()), tmp_path))

    def forward(images: Any) -> Any:
        tokens = model.forward_features(images)
        return head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))

    check(imported, forward, "dinov2")
    state |= prefixed("linear_head.", torch.nn.Linear(640, 5).state_dict())  # of four blocks' class tokens
    assert "linear_head.weight\n  expected: float [any, 128]" in refusal(saved(state, tmp_path))


def test_dinov2_registers(tmp_path: Path) -> None:
    """They have no positions, the class token has one."""
    model = encoder(init_values=0.5, reg_tokens=4)
    state = model.state_dict()
    with torch.no_grad():
        model.pos_embed[:, 1:5] = 0
        kept = torch.cat([model.pos_embed[:, :1], model.pos_embed[:, 5:]], 1)
    state = {name: value for name, value in state.items() if name != "reg_token"}
    state |= {"register_tokens": model.reg_token, "pos_embed": kept}
    check(load(saved(state, tmp_path)), model, "dinov2")


@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_mae(tmp_path: Path, pooling: str) -> None:
    """Pretrained with its decoder, and trained on with a head."""
    model = encoder()
    decoder = {"mask_token": torch.ones(1, 1, 3), "decoder_embed.weight": NOISE,
               "decoder_pos_embed": torch.ones(1, 17, 3),
               "decoder_blocks.0.norm1.weight": NOISE[0], "decoder_norm.bias": NOISE[0]}  # fmt: skip
    imported = load(saved({"model": model.state_dict() | decoder}, tmp_path))
    check(imported, model, "mae")
    assert "the decoder left out (5 tensors)" in imported.notes
    tuned = vit(global_pool=pooling)
    check(load(saved({"model": tuned.state_dict()}, tmp_path), "mae"), tuned, "mae")


def test_mocov3(tmp_path: Path) -> None:
    """Its ViT-S has 12 heads."""
    model = encoder(embed_dim=384, num_heads=12, depth=1)
    state = prefixed("module.base_encoder.", model.state_dict()) | {
        "module.base_encoder.head.0.weight": NOISE, "module.predictor.0.weight": NOISE,
    } | prefixed("module.momentum_encoder.", encoder(embed_dim=384, depth=1).state_dict())  # fmt: skip
    imported = load(saved({"state_dict": state, "arch": "vit_small"}, tmp_path))
    assert imported.model.heads == 12
    check(imported, model, "mocov3")


def test_ibot(tmp_path: Path) -> None:
    model = encoder()
    state = model.state_dict() | {"masked_embed": torch.ones(1, 128)}
    check(load(saved({"state_dict": state}, tmp_path)), model, "ibot")


def test_another_image_size(tmp_path: Path) -> None:
    """DINO's code (vision_transformer.py, interpolate_pos_encoding) adds a tenth to the new size; MAE's does not."""
    state = encoder().state_dict()
    grid = state["pos_embed"][:, 1:].reshape(1, 4, 4, 128).permute(0, 3, 1, 2)
    size = Overrides(image_size=ImageSize(height=48, width=40))
    for format, options in (("dino", {"scale_factor": (6.1 / 4, 5.1 / 4)}), ("mae", {"size": (6, 5)})):
        wanted = torch.nn.functional.interpolate(grid, mode="bicubic", **options)
        found = load(saved(state, tmp_path), format, size)
        np.testing.assert_allclose(found.tensors["pos"][1:], wanted[0].flatten(1).T.numpy(), atol=1e-5)
        assert "(bicubic)" in "\n".join(found.notes)
    # DINOv2 with registers (hub/backbones.py): interpolate_antialias=True, interpolate_offset=0.0.
    wanted = torch.nn.functional.interpolate(grid, (6, 5), mode="bicubic", antialias=True)
    found = load(saved(state | {"register_tokens": torch.ones(1, 4, 128)}, tmp_path), "dinov2", size)
    np.testing.assert_allclose(found.tensors["pos"][5:], wanted[0].flatten(1).T.numpy(), atol=1e-5)
