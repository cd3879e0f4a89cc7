"""Patch order and embedding."""

import numpy as np
import pytest

from golden.embed import embed, patchify
from golden.linear import Linear
from tests.golden import scalar


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 1), (2, 3, 1), (4, 2, 3), (6, 6, 2)])
def test_patchify(height: int, width: int, channels: int) -> None:
    rng = np.random.default_rng(height)
    images = rng.integers(0, 256, (2, 3 * height, 2 * width, channels)).astype(np.uint8)
    want = [scalar.patches(image, height, width) for image in images.tolist()]
    assert patchify(images, height, width, 0).tolist() == want
    with_tokens = patchify(images, height, width, 2)
    assert not with_tokens[:, :2].any() and with_tokens[:, 2:].tolist() == want


def test_patches_must_tile() -> None:
    with pytest.raises(AssertionError, match="must tile the image, not 5x4"):
        patchify(np.zeros((1, 5, 4, 1), np.uint8), 2, 2, 0)


def test_embed_saturates_before_and_after_the_position() -> None:
    linear = Linear(
        weight=np.array([[127], [-127], [127]], np.int8),
        bias=np.array([0, 0, -1000], np.int32),
        mult=np.full(3, 65535, np.uint16),
        shift=np.array([0, 0, 16], np.uint8),
    )
    position = np.array([[1, 2, 3], [-10, 10, -32768], [32767, 0, 0]], np.int16)
    x = embed(np.array([[[9], [255], [1]]], np.uint8), linear, position, 1)
    assert x.dtype == np.int16
    # 255*127 - 1000 = 31385 stays, 1*127 - 1000 = -873 (both times 65535/65536); channels 0, 1 saturate.
    assert x.tolist() == [[[1, 2, 3], [32757, -32758, 31385 - 32768], [32767, -32768, -873]]]


def test_tokens_before_the_patches_take_nothing_of_the_embedding() -> None:
    linear = Linear(
        weight=np.ones((2, 1), np.int8),
        bias=np.array([9, 9], np.int32),
        mult=np.full(2, 32768, np.uint16),
        shift=np.full(2, 15, np.uint8),
    )
    position = np.array([[1, 2], [3, 4], [5, 6]], np.int16)
    patches = np.array([[[0], [0], [7]]], np.uint8)
    assert embed(patches, linear, position, 2).tolist() == [[[1, 2], [3, 4], [21, 22]]]
    assert embed(patches, linear, position, 0).tolist() == [[[10, 11], [12, 13], [21, 22]]]
