"""Networks of timm, their imports and what a comparison of the two says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwgen.common.errors import HwgenError
from hwgen.evaluate.reference import Reference, check_import
from hwgen.importers import Imported, load
from tests.importers.timm_models import MEAN, STD, pixels, told

IMAGENET = (MEAN, STD)


def quiet(line: str) -> None:
    """No progress."""


def imported(model: Any, directory: Path, **changes: Any) -> Imported:
    torch.save(model.state_dict(), directory / "model.pth")
    return load(directory / "model.pth", overrides=told(**changes))


def random_images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def outputs(model: Any, images: np.ndarray, normalize: tuple[np.ndarray, np.ndarray] = IMAGENET) -> np.ndarray:
    with torch.no_grad():
        return model(pixels(images, *normalize)).numpy()


def check(network: Imported, wanted: np.ndarray, **options: Any) -> str:
    """The message of a comparison that is refused; nothing if it agrees."""
    reference = Reference("FILE", random_images(len(wanted)), {"classify": wanted[:, None]}, **options)
    try:
        errors = check_import(network, reference, quiet)
    except HwgenError as error:
        return error.text()
    assert 0 < errors["classify"] < 1e-5
    return ""
