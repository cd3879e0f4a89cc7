"""Position embeddings for another size of the image, by the rule of the network's own library."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Rule:
    """How a library resamples positions.

    antialias: Pillow's filter, widened where the grid shrinks; align_corners: the outermost positions stay;
    offset: added to the new size where the scale is computed (DINO's code)
    """

    who: str
    kernel: Literal["cubic", "linear"] = "cubic"
    antialias: bool = False
    align_corners: bool = False
    offset: float = 0.0

    def with_registers(self) -> Rule:
        """Of DINOv2 with register tokens, in its own code and in transformers'."""
        return replace(self, antialias=True, offset=0.0)

    def text(self) -> str:
        """For a note."""
        kind = ", ".join(["bicubic" if self.kernel == "cubic" else "bilinear"]
                         + ["antialias"] * self.antialias + ["corners aligned"] * self.align_corners)  # fmt: skip
        return f"as {self.who} does ({kind})"


TIMM = Rule("timm", antialias=True)
TRANSFORMERS = Rule("transformers")
TORCHVISION = Rule("torchvision", align_corners=True)
#: DINO, iBOT and DINOv2.
DINO = Rule("DINO's code", offset=0.1)
MAE = Rule("MAE's code")
JAX = Rule("the original code", kernel="linear", align_corners=True)


def resample(grid: np.ndarray, size: tuple[int, int], rule: Rule) -> np.ndarray:
    """Positions [height, width, D] as float32 of another height and width."""
    if grid.shape[:2] == size:
        return grid
    vertical, horizontal = (_weights(old, new, rule) for old, new in zip(grid.shape, size))
    resampled = np.tensordot(vertical, grid.astype(np.float64), 1)
    return np.einsum("ij,hjd->hid", horizontal, resampled).astype(np.float32)


def _weights(old: int, new: int, rule: Rule) -> np.ndarray:
    """Matrix [new, old] of a row or column."""
    places = np.arange(new, dtype=np.float64)
    if rule.align_corners:
        centres, scale = places * ((old - 1) / (new - 1) if new > 1 else 0.0), 1.0
    else:
        scale = old / (new + rule.offset)
        centres = (places + 0.5) * scale - 0.5
    widened = max(scale, 1.0) if rule.antialias else 1.0
    reach = int(np.ceil(2 * widened)) + 1
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    # Pillow's cubic has another sharpness than PyTorch's.
    values = _kernel((taps - centres[:, None]) / widened, rule.kernel, -0.5 if rule.antialias else -0.75)
    if rule.antialias:
        values = np.where((taps >= 0) & (taps < old), values, 0.0)
        values /= values.sum(1, keepdims=True)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], taps.clip(0, old - 1)), values)
    return matrix


def _kernel(distance: np.ndarray, kind: str, sharpness: float) -> np.ndarray:
    x = np.abs(distance)
    if kind == "linear":
        return np.asarray(np.maximum(1 - x, 0))
    near = ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * sharpness - 4 * sharpness
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
