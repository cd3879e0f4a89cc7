"""Archives of the original ViT and of big_vision against timm, which loads them, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwgen.importers import ImageSize, Overrides, load
from tests.importers.libraries import difference, refusal
from tests.importers.timm_models import vit

HALF = [0.5] * 3
DIM, HEADS, HIDDEN, PATCH = 32, 4, 64, 8


def archive(
    prefix: str = "", big_vision: bool = False, stacked: bool = False, cls: bool = True, pooling: bool = False
) -> dict[str, np.ndarray]:
    """As the code in JAX saves a network of two blocks for 32x32 images."""
    random = np.random.default_rng(0)
    mha, mlp, second = (0, 0, 1) if big_vision else (1, 3, 2)
    shapes: dict[str, tuple[int, ...]] = {"embedding/kernel": (PATCH, PATCH, 3, DIM), "embedding/bias": (DIM,)}
    if cls:
        shapes["cls"] = (1, 1, DIM)
    shapes["pos_embedding" if big_vision else "Transformer/posembed_input/pos_embedding"] = (1, 16 + cls, DIM)
    block = _attention_and_mlp(mha, mlp) | {
        "LayerNorm_0/scale": (DIM,), "LayerNorm_0/bias": (DIM,),
        f"LayerNorm_{second}/scale": (DIM,), f"LayerNorm_{second}/bias": (DIM,),
    }  # fmt: skip
    for name, shape in block.items():
        for layer in range(2):
            if stacked:
                shapes[f"Transformer/encoderblock/{name}"] = (2, *shape)
            else:
                shapes[f"Transformer/encoderblock_{layer}/{name}"] = shape
    if pooling:
        pool = {"probe": (1, 1, DIM), "LayerNorm_0/scale": (DIM,), "LayerNorm_0/bias": (DIM,)} | _attention_and_mlp()
        shapes |= {f"MAPHead_0/{name}": shape for name, shape in pool.items()}
    shapes |= {"Transformer/encoder_norm/scale": (DIM,), "Transformer/encoder_norm/bias": (DIM,),
               "head/kernel": (DIM, 5), "head/bias": (5,)}  # fmt: skip
    return {prefix + name: (0.3 * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def _attention_and_mlp(mha: int = 0, mlp: int = 0) -> dict[str, tuple[int, ...]]:
    """By the numbers that their modules have."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("query", "key", "value"):
        shapes |= {f"MultiHeadDotProductAttention_{mha}/{name}/kernel": (DIM, HEADS, DIM // HEADS),
                   f"MultiHeadDotProductAttention_{mha}/{name}/bias": (HEADS, DIM // HEADS)}  # fmt: skip
    return shapes | {
        f"MultiHeadDotProductAttention_{mha}/out/kernel": (HEADS, DIM // HEADS, DIM),
        f"MultiHeadDotProductAttention_{mha}/out/bias": (DIM,),
        f"MlpBlock_{mlp}/Dense_0/kernel": (DIM, HIDDEN), f"MlpBlock_{mlp}/Dense_0/bias": (HIDDEN,),
        f"MlpBlock_{mlp}/Dense_1/kernel": (HIDDEN, DIM), f"MlpBlock_{mlp}/Dense_1/bias": (DIM,),
    }  # fmt: skip


def timms(path: Path, **changes: Any) -> Any:
    """timm's network with these weights; its GELU is that of JAX."""
    sizes = {"embed_dim": DIM, "num_heads": HEADS, "mlp_ratio": HIDDEN / DIM, "num_classes": 5}
    model = vit(**(sizes | {"act_layer": "gelu_tanh"} | changes))
    model.load_pretrained(path)
    return model


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"prefix": "opt/target/"}, {}),
        ({"prefix": "params/", "big_vision": True}, {}),
        (
            {"prefix": "params/img/", "big_vision": True, "stacked": True, "cls": False},
            {"class_token": False, "global_pool": "avg", "fc_norm": False},
        ),
        (
            {"prefix": "params/img/", "big_vision": True, "cls": False, "pooling": True},
            {"class_token": False, "global_pool": "map"},
        ),
    ],
)
def test_archives(tmp_path: Path, options: dict[str, Any], changes: dict[str, Any]) -> None:
    """Nothing is asked for."""
    tensors = archive(**options)
    if "opt" in options.get("prefix", ""):
        tensors["opt/state/step"] = np.array(3)
    np.savez(tmp_path / "vit.npz", **tensors)
    imported = load(tmp_path / "vit.npz")
    assert (imported.source, imported.model.heads) == ("jax", HEADS)
    assert difference(imported, timms(tmp_path / "vit.npz", **changes), HALF, HALF) < 1e-4
    assert imported.warnings == [
        "normalize mean 0.5,0.5,0.5 std 0.5,0.5,0.5: as in its code; else give --mean and --std"
    ]


def test_another_image_size(tmp_path: Path) -> None:
    """As the code itself does."""
    zoom = pytest.importorskip("scipy.ndimage").zoom

    tensors = archive()
    np.savez(tmp_path / "vit.npz", **tensors)
    imported = load(tmp_path / "vit.npz", overrides=Overrides(image_size=ImageSize(height=48, width=40)))
    name = "Transformer/posembed_input/pos_embedding"
    grid = zoom(tensors[name][0, 1:].reshape(4, 4, DIM), (6 / 4, 5 / 4, 1), order=1).reshape(30, DIM)
    np.savez(tmp_path / "large.npz", **(tensors | {name: np.concatenate([tensors[name][:, :1], grid[None]], 1)}))
    assert difference(imported, timms(tmp_path / "large.npz", img_size=(48, 40)), HALF, HALF) < 1e-4
    assert "as the original code does (bilinear, corners aligned)" in "\n".join(imported.notes)


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("pre_logits/kernel", "a layer between the last norm and the head"),
        ("conv_root/kernel", "a convolutional stem"),
    ],
)
def test_refused(tmp_path: Path, name: str, operator: str) -> None:
    np.savez(tmp_path / "vit.npz", **(archive() | {name: np.ones((DIM, DIM), np.float32)}))
    assert refusal(tmp_path / "vit.npz").startswith(f"DIR: {name}\n  expected: a network without {operator}:")
