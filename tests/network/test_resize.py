"""Resizing as torchvision's transforms do it, which processors of networks are."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from hwgen.common.errors import HwgenError
from hwgen.network.resize import FILTERS, Resize, parse_resize
from tests.importers.timm_models import timm


def picture(height: int, width: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (29, 100), (40, 40), (28, 28)])
@pytest.mark.parametrize("filter", FILTERS)
def test_as_torchvision(size: tuple[int, int], filter: str) -> None:
    assert timm is not None  # with it torchvision can be imported
    from torchvision.transforms import functional

    mode = functional.InterpolationMode(filter)
    for short, crop in ((28, (24, 24)), (28, (24, 20)), (41, (40, 31))):
        wanted = functional.center_crop(functional.resize(picture(*size), short, mode), list(crop))
        found = Resize(short, filter).apply(picture(*size), *crop)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
    wanted = functional.resize(picture(*size), [24, 31], mode)
    np.testing.assert_array_equal(np.asarray(Resize(None, filter).apply(picture(*size), 24, 31)), np.asarray(wanted))


def test_said_by_the_user() -> None:
    assert parse_resize("whole", "FILE", "resize") == Resize()
    assert parse_resize("256:bilinear", "FILE", "resize", 224, 224) == Resize(256, "bilinear")
    assert str(Resize(256)) == "256:bicubic"
    with pytest.raises(HwgenError) as caught:
        parse_resize("200", "FILE", "resize", 224, 192)
    assert caught.value.text() == (
        "FILE: resize\n  expected: at least 224 pixels, of which 224x192 are cropped\n  found:    200"
    )
    for text in ("", "256:cubic", "-1", "x", "256:", "0"):
        with pytest.raises(HwgenError, match=r"expected: `whole` or pixels of the shorter side, then perhaps"):
            parse_resize(text, "FILE", "resize")
