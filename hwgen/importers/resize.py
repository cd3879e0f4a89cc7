"""How the processor of a network resizes its images, as the files beside the checkpoint state it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.common.json_file import read_json
from hwgen.network.description import Image
from hwgen.network.resize import FILTERS, Resize

#: The files, of transformers and of timm, and the key of the latter's settings.
PREPROCESSOR, CONFIG, TRAINED = "preprocessor_config.json", "config.json", "pretrained_cfg"
#: Where timm states nothing.
CROP_PCT = 0.875


def stated_resize(checkpoint: Path, image: Image) -> tuple[Resize, str] | None:
    """What is stated for images of this size, and by which file; None: nothing that is understood."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    found = _transformers(_read(folder / PREPROCESSOR), image)
    if found is not None:
        return found, PREPROCESSOR
    config = _read(folder / CONFIG)
    trained = config.get(TRAINED, config if "crop_pct" in config else {})
    found = _timm(trained, image) if isinstance(trained, Mapping) else None
    return (found, f"{CONFIG}: {TRAINED}") if found is not None else None


def _read(path: Path) -> Mapping[str, Any]:
    """Nothing if it is unreadable: what it must state is asked elsewhere."""
    try:
        content = read_json(path)
    except HwgenError:
        return {}
    return content if isinstance(content, Mapping) else {}


def _transformers(config: Mapping[str, Any], image: Image) -> Resize | None:
    size, number = config.get("size"), config.get("resample", FILTERS.index("bilinear"))
    if not config.get("do_resize", True) or size is None or number not in range(len(FILTERS)):
        return None
    short = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if isinstance(size, Mapping) and short is None:  # height and width
        short = size.get("height") if config.get("do_center_crop") and size.get("height") == size.get("width") else None
    elif not config.get("do_center_crop"):
        short = None
    return _fitting(Resize(short if isinstance(short, int) else None, FILTERS[number]), image)


def _timm(config: Mapping[str, Any], image: Image) -> Resize | None:
    if "crop_pct" not in config and "interpolation" not in config:
        return None
    share, name = config.get("crop_pct") or CROP_PCT, config.get("interpolation") or "bicubic"
    if not isinstance(share, int | float) or not 0 < share <= 1 or name not in FILTERS:
        return None
    if config.get("crop_mode", "center") == "squash" or image.height != image.width:
        return Resize(None, name)
    return Resize(math.floor(image.height / share), name)


def _fitting(resize: Resize, image: Image) -> Resize:
    """As a whole where the crop would not be in the picture."""
    small = resize.short is not None and resize.short < max(image.height, image.width)
    return Resize(None, resize.filter) if small else resize
