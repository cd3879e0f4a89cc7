"""Images from a .npz or .npy array, a picture, a folder of them or of a folder per class, or Edge-MoE's example, as the
bytes the accelerator reads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import zip_longest
from pathlib import Path

import numpy as np

from hwgen.common.archive import names_in, read_npy, read_npz
from hwgen.common.errors import HwgenError
from hwgen.network.description import Image
from hwgen.network.pictures import SUFFIXES, read_pictures
from hwgen.network.resize import Resize

#: What images may be in.
ANY_FILE = "a .npz or .npy file, a picture (PNG, JPEG, WebP, BMP, TIFF), or a folder of these"
#: Edge-MoE's example.
RAW_SUFFIX = ".float32.bin"
#: The key of labels that name no task.
ANY_TASK = ""

Labels = dict[str, np.ndarray]
Note = Callable[[str], None]


def load_images(
    path: Path | str, image: Image, count: int | None = None, note: Note | None = None, *,
    resize: Resize | None = None, classes: Collection[int] = (),
) -> tuple[np.ndarray, Labels | None]:  # fmt: skip
    """The first `count` images, uint8 [B, H, W, C], and their labels by task, None if there are none.

    A .npz holds `images`, uint8 [B, H, W, C] (grey: the last axis may be absent), and may hold `labels_TASK` or
    `labels` [B, ...]; the latter are given back as task `ANY_TASK`. Pictures of a folder come in the order of their
    names, from sub-folders one of each in turn; those are classes if they are numbered, or if there are as many as
    heads have outputs (`classes`). Other sizes than the model's are resized as `resize` says. `note` is told of it.
    """
    path, say = Path(path), note or (lambda text: None)
    if path.is_dir():
        return _folder(path, image, count, say, resize or Resize(), classes)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return read_pictures([path], image, resize or Resize(), say), None
    if path.name.endswith(RAW_SUFFIX):
        return _raw(path, image, say), None
    arrays = {"images": read_npy(path, ANY_FILE)} if suffix == ".npy" and path.exists() else _read_npz(path)
    return _checked(path, arrays, image, count)


def _folder(path: Path, image: Image, count: int | None, note: Note, resize: Resize,
            classes: Collection[int]) -> tuple[np.ndarray, Labels | None]:  # fmt: skip
    groups: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        hidden = any(part.startswith(".") for part in inside.parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file():
            groups.setdefault(inside.parts[0] if len(inside.parts) > 1 else "", []).append(file)
    if not groups:
        raise HwgenError(str(path), expected="a folder with pictures (PNG, JPEG, WebP, BMP, TIFF)", found="none in it",
                         mend="" if any(path.iterdir()) else "the folder is empty")  # fmt: skip
    # One of each folder in turn: the first few are then of many classes.
    files = [file for turn in zip_longest(*groups.values()) for file in turn if file is not None][:count]
    names = list(groups)
    if len(names) > 1:
        note(f"{len(files)} images of {len(names)} sub-folders, one of each in turn")
    labels = _labels(names, classes, note)
    pixels = read_pictures(files, image, resize, note)
    if labels is None:
        return pixels, None
    return pixels, {ANY_TASK: np.array([labels[file.relative_to(path).parts[0]] for file in files])}


def _labels(names: list[str], classes: Collection[int], note: Note) -> dict[str, int] | None:
    """The class of each sub-folder, if that is certain."""
    if "" in names:
        return None
    if all(name.isdecimal() for name in names):
        note(f"labels: the numbers of the {len(names)} sub-folders")
        return {name: int(name) for name in names}
    if len(names) in classes:
        note(f"labels: the {len(names)} sub-folders in the order of their names")
        return {name: number for number, name in enumerate(names)}
    return None


def _raw(path: Path, image: Image, note: Note) -> np.ndarray:
    """Edge-MoE's image: float32 [channel][row][column], of which its kernel keeps the eight bits behind the point."""
    shape = (image.channels, image.height, image.width)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HwgenError(str(path), expected=ANY_FILE, found=error.strerror or str(error),
                         mend="check the path") from None  # fmt: skip
    size = 4 * int(np.prod(shape))
    values = np.frombuffer(data[:size], "<f4", min(len(data), size) // 4)
    if len(data) != size or not (values >= 0).all() or not (values <= 1).all():
        found = f"{len(data)} bytes" if len(data) != size else f"{values.min()} to {values.max()}"
        raise HwgenError(str(path), expected=f"{size} bytes: float32 {list(shape)} in 0..1", found=found)
    codes = np.floor(values * 256)
    if (codes > 255).any():
        note(f"{int((codes > 255).sum())} pixels of 1.0 taken for 255/256, the largest of Edge-MoE's")
    return np.ascontiguousarray(np.minimum(codes, 255).astype(np.uint8).reshape(shape).transpose(1, 2, 0))[None]


def _checked(path: Path, arrays: dict[str, np.ndarray], image: Image,
             count: int | None) -> tuple[np.ndarray, Labels | None]:  # fmt: skip
    images = arrays["images"]
    shape = (image.height, image.width, image.channels)
    found = f"{images.dtype.name} {list(images.shape)}"
    if images.shape == shape and path.suffix.lower() == ".npy":
        images = images[None]
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
