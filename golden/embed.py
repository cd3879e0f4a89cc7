"""Patch embedding: raster images to int16 tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.fixed import add16, sat16
from golden.linear import Linear


def patchify(images: NDArray[np.uint8], height: int, width: int, class_token: bool) -> NDArray[np.uint8]:
    """Cut images uint8 [B, H, W, Ch] into patches uint8 [B, N, height*width*Ch].

    Patches are row-major, a patch vector is in the order [row][column][channel]. With a class token row 0 is zero.
    """
    b, h, w, channels = images.shape
    assert h % height == 0 and w % width == 0, f"patches {height}x{width} must tile the image, not {h}x{w}"
    grid = images.reshape(b, h // height, height, w // width, width, channels).transpose(0, 1, 3, 2, 4, 5)
    patches = grid.reshape(b, (h // height) * (w // width), height * width * channels)
    return np.pad(patches, ((0, 0), (1, 0), (0, 0))) if class_token else np.ascontiguousarray(patches)


def embed(
    patches: NDArray[np.uint8], linear: Linear, position: NDArray[np.int16], class_token: bool
) -> NDArray[np.int16]:
    """Tokens x int16 [B, N, D] of patches uint8 [B, N, P].

    `x = sat16(position + sat16(requant(pixels · Wᵀ)))`; the class token is row 0 of `position` alone, whatever the
    embedding's bias says.
    """
    x = add16(position, sat16(linear(patches)))
    if class_token:
        x[:, 0] = position[0]
    return x
