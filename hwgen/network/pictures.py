"""Pictures as bytes [height, width, channels]: PNG, JPEG, WebP, BMP, TIFF, of eight bits or sixteen, turned as their
cameras say. Tested by tests/network/test_images.py."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwgen.common.archive import FETCH, LFS, sniff
from hwgen.common.errors import HwgenError
from hwgen.network.description import Image
from hwgen.network.resize import Resize

#: File names of pictures, in small letters.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
A_PICTURE = "a PNG, JPEG, WebP, BMP or TIFF file"
#: Pillow's name of the pixels, by the number of image channels.
_MODES = {1: "L", 3: "RGB"}
#: Pillow's names of grey in more than eight bits.
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")


def read_pictures(files: Sequence[Path], image: Image, resize: Resize, note: Callable[[str], None]) -> np.ndarray:
    """uint8 [B, H, W, C] of picture files; `note` is told what was done to how many."""
    pillow = _pillow(str(files[0]))
    if image.channels not in _MODES:
        raise HwgenError(str(files[0]), expected=f".npz files, as the model's images have {image.channels} channels",
                         found="a picture", mend="pictures serve for 1 or 3 channels")  # fmt: skip
    pixels = np.empty((len(files), image.height, image.width, image.channels), np.uint8)
    done: Counter[str] = Counter()
    for place, file in zip(pixels, files, strict=True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pillow.DecompressionBombWarning)
                # In memory: read from a file, a chunk would get the room that it claims.
                with pillow.open(io.BytesIO(file.read_bytes())) as opened:
                    picture = _upright(opened, done)
                    picture = _eight_bits(picture, pillow, done).convert(_MODES[image.channels])
        except FileNotFoundError:
            raise HwgenError(str(file), expected=A_PICTURE, found="no such file", mend="check the path") from None
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError):
            raise HwgenError(str(file), expected=f"a picture of at most {pillow.MAX_IMAGE_PIXELS:,} pixels",
                             found="a larger one", mend="save it smaller") from None  # fmt: skip
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError
            lost = file.is_file() and sniff(file) == LFS
            found = LFS if lost else str(error) or type(error).__name__
            raise HwgenError(str(file), expected=A_PICTURE, found=found, mend=FETCH if lost else "") from None
        if picture.size != (image.width, image.height):
            done[resize.text(image.height, image.width)] += 1
            picture = resize.apply(picture, image.height, image.width)
        place[...] = np.asarray(picture).reshape(place.shape)
    for what, count in done.items():
        note(f"{count} of {len(files)} images {what}")
    return pixels


def _upright(picture: Any, done: Counter[str]) -> Any:
    """Turned as the camera was held; a tag of EXIF says how."""
    from PIL import ExifTags, ImageOps

    if picture.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        done["turned as their EXIF orientation says"] += 1
        return ImageOps.exif_transpose(picture)
    return picture


def _eight_bits(picture: Any, pillow: ModuleType, done: Counter[str]) -> Any:
    """Grey of more bits scaled to bytes; Pillow itself would make white of all that is above 255."""
    if picture.mode not in _DEEP:
        return picture
    values = np.asarray(picture)
    low, high = values.min(), values.max()
    if picture.mode == "F" or low < 0 or high > 0xFFFF:
        raise ValueError(f"grey from {low:g} to {high:g}, of which neither black nor white is known; save 8 or 16 bits")
    done["of 16 bits scaled to 8"] += 1
    return pillow.fromarray(((values.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def _pillow(where: str) -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise HwgenError(where, expected="Pillow, to read pictures", found="no such module",
                         mend="pip install 'hwgen[images]', or give the images as .npz") from None  # fmt: skip
    return PIL.Image
