"""Images from a .npz archive, a PNG or JPEG file, or a folder of them, as the bytes the accelerator reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwgen.common.archive import names_in, read_npz
from hwgen.common.errors import HwgenError
from hwgen.network.description import Image

#: File names of pictures, in small letters.
SUFFIXES = (".png", ".jpg", ".jpeg")
#: What images may be in.
ANY_FILE = "a .npz file, a PNG or JPEG file, or a folder of these"
#: Pillow's name of the pixels, by the number of image channels.
_MODES = {1: "L", 3: "RGB"}
#: The key of labels that name no task.
ANY_TASK = ""

Labels = dict[str, np.ndarray]


def load_images(
    path: Path | str, image: Image, count: int | None = None, note: Callable[[str], None] | None = None
) -> tuple[np.ndarray, Labels | None]:
    """The first `count` images, uint8 [B, H, W, C], and their labels by task, None if the file has none.

    A .npz holds `images`, uint8 [B, H, W, C] (grey: the last axis may be absent), and may hold `labels_TASK` or
    `labels` [B, ...]; the latter are given back as task `ANY_TASK`. Pictures of a folder come in the order of their
    names; other sizes than the model's are resized as a whole, bicubic, which `note` is told.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise HwgenError(str(path), expected="a folder with PNG or JPEG files", found="none in it")
        return _pictures(files[:count], image, note), None
    if path.suffix.lower() in SUFFIXES:
        return _pictures([path], image, note), None
    return _archive(path, image, count)


def _archive(path: Path, image: Image, count: int | None) -> tuple[np.ndarray, Labels | None]:
    arrays = _read_npz(path)
    images = arrays["images"]
    shape = (image.height, image.width, image.channels)
    found = f"{images.dtype.name} {list(images.shape)}"
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        raise HwgenError(str(path), "images", expected=f"uint8 [at least 1, {shape[0]}, {shape[1]}, {shape[2]}]",
                         found=found)  # fmt: skip
    labels = {}
    for name, array in arrays.items():
        if name != "labels" and not name.startswith("labels_"):
            continue
        if array.ndim < 1 or len(array) != len(images) or array.dtype.kind not in "iuf":
            raise HwgenError(str(path), name, expected=f"numbers [{len(images)}, ...], a row per image",
                             found=f"{array.dtype.name} {list(array.shape)}")  # fmt: skip
        labels[name.removeprefix("labels").removeprefix("_") or ANY_TASK] = array[:count]
    return images[:count], labels or None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays that matter; others may be large."""
    arrays = read_npz(path, ANY_FILE, lambda name: name == "images" or name.startswith("labels"))
    if "images" not in arrays:
        found = ", ".join(names_in(path)) or "nothing"
        raise HwgenError(str(path), "images", expected="an array `images`", found=found)
    return arrays


def _pictures(files: list[Path], image: Image, note: Callable[[str], None] | None) -> np.ndarray:
    """uint8 [B, H, W, C]."""
    pillow = _pillow(str(files[0]))
    if image.channels not in _MODES:
        raise HwgenError(str(files[0]), expected=f".npz files, as the model's images have {image.channels} channels",
                         found="a picture", mend="PNG and JPEG serve for 1 or 3 channels")  # fmt: skip
    pixels = np.empty((len(files), image.height, image.width, image.channels), np.uint8)
    resized = 0
    for place, file in zip(pixels, files, strict=True):
        try:
            with pillow.open(file) as opened:
                picture: Any = opened.convert(_MODES[image.channels])
        except FileNotFoundError:
            raise HwgenError(str(file), expected="a PNG or JPEG file", found="no such file",
                             mend="check the path") from None  # fmt: skip
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, DecompressionBombError
            found = str(error) or type(error).__name__
            raise HwgenError(str(file), expected="a PNG or JPEG file", found=found) from None
        if picture.size != (image.width, image.height):
            picture = picture.resize((image.width, image.height), pillow.Resampling.BICUBIC)
            resized += 1
        place[...] = np.asarray(picture).reshape(place.shape)
    if resized and note:
        note(f"{resized} of {len(files)} images resized to {image.height}x{image.width}, bicubic")
    return pixels


def _pillow(where: str) -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise HwgenError(where, expected="Pillow, to read pictures", found="no such module",
                         mend="pip install 'hwgen[images]', or give the images as .npz") from None  # fmt: skip
    return PIL.Image
