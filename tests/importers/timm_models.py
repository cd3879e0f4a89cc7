"""Small Vision Transformers of timm with random weights, and what they compute."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import torch

from hwgen.importers import Normalize, Overrides


def _import_timm() -> Any:
    """timm. It needs torchvision, whose operators are absent where it was built for another PyTorch than this one."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _import_timm.operators = operators  # type: ignore[attr-defined]  # they vanish with the object
    import timm

    return timm


timm = _import_timm()

#: ImageNet's, for pixels in 0..1.
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
NORMALIZE = Normalize(mean=(255 * MEAN).tolist(), std=(255 * STD).tolist())


def randomize(model: Any, seed: int = 0) -> Any:
    """All parameters moved by noise: none stays at zero or one, where a mistake would not show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.25)
    return model.eval()


def vit(**changes: Any) -> Any:
    """A ViT for 32x32 images: 16 patches, two blocks, two heads of 64."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 10}
    torch.manual_seed(0)
    return randomize(timm.models.vision_transformer.VisionTransformer(**(sizes | changes)))


def distilled(**changes: Any) -> Any:
    """A distilled DeiT of the same size."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 10}
    torch.manual_seed(0)
    return randomize(timm.models.deit.VisionTransformerDistilled(**(sizes | changes)))


def told(**changes: Any) -> Overrides:
    """What the state dict of `vit()` does not tell."""
    known = {"heads": 2, "normalize": NORMALIZE, "activation": "gelu", "pooling": "token"}
    return Overrides(**{key: value for key, value in (known | changes).items() if value is not None})


def pixels(images: np.ndarray, mean: np.ndarray = MEAN, std: np.ndarray = STD) -> Any:
    """What the model is given for images uint8 [B, H, W, C]."""
    return torch.tensor(((images / 255 - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)


def intermediates(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """timm's tensors on these images by the names of hwgen.network.floatmodel; q, k, v with biases."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, inputs: bool, module: Any, given: Any, made: Any) -> None:
        seen[name] = (given[0] if inputs else made).numpy()

    hooks = []
    for index, block in enumerate(model.blocks):
        for part, module, inputs in (
            ("input", block, True), ("norm1", block.norm1, False), ("qkv", block.attn.qkv, False),
            ("context", block.attn.proj, True), ("attn", block.norm2, True), ("norm2", block.norm2, False),
            ("hidden", block.mlp.fc2, True), ("mlp", block, False),
        ):  # fmt: skip
            hooks.append(module.register_forward_hook(partial(keep, f"layers.{index}.{part}", inputs)))
    with torch.no_grad():
        seen["output"] = model(pixels(images)).numpy()
    for hook in hooks:
        hook.remove()
    seen["embed"] = seen.pop("layers.0.input")
    for index in range(len(model.blocks)):
        seen.pop(f"layers.{index}.input", None)
        q, k, v = np.split(seen.pop(f"layers.{index}.qkv"), 3, axis=-1)
        seen |= {f"layers.{index}.{part}": value for part, value in (("q", q), ("k", k), ("v", v))}
    return seen
