"""Patch embedding: raster images to int16 tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import add16, sat16
from golden.layernorm import Norm
from golden.linear import Linear


def patchify(images: NDArray[np.uint8], height: int, width: int, prefix: int) -> NDArray[np.uint8]:
    """Cut images uint8 [B, H, W, Ch] into patches uint8 [B, N, height*width*Ch].

    Patches are row-major, a patch vector is in the order [row][column][channel]. In front of them are `prefix` rows of
    zeros, the places of the class token and the distillation token.
    """
    b, h, w, channels = images.shape
    assert h % height == 0 and w % width == 0, f"patches {height}x{width} must tile the image, not {h}x{w}"
    grid = images.reshape(b, h // height, height, w // width, width, channels).transpose(0, 1, 3, 2, 4, 5)
    patches = grid.reshape(b, (h // height) * (w // width), height * width * channels)
    return np.pad(patches, ((0, 0), (prefix, 0), (0, 0)))


def embed(patches: NDArray[np.uint8], linear: Linear, position: NDArray[np.int16], prefix: int) -> NDArray[np.int16]:
    """Tokens x int16 [B, N, D] of patches uint8 [B, N, P].

    `x = sat16(position + sat16(requant(pixels · Wᵀ)))`; the first `prefix` tokens are those rows of `position` alone,
    whatever the embedding's bias says.
    """
    x = add16(position, sat16(linear(patches)))
    x[:, :prefix] = position[:prefix]
    return x


@dataclass(frozen=True, kw_only=True)
class NormPre:
    """A LayerNorm in front of the first layer, and the linear layer that brings it back to int16."""

    norm: Norm
    stream: Linear

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], rms: bool = False) -> NormPre:
        """Take `norm_pre` and `stream` of a description."""
        return cls(norm=Norm.load(tensors, "norm_pre", rms), stream=Linear.load(tensors, "stream"))

    def __call__(self, x: NDArray[np.int16]) -> dict[str, NDArray]:
        """`norm_pre` -255..255 and `stream`, the residual stream int16, both [B, N, D], of the embedding x int16."""
        y = self.norm(x)
        return {"norm_pre": y, "stream": sat16(self.stream(y))}
