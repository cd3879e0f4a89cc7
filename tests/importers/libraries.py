"""What the tests of all libraries' networks share: libraries that need torchvision, folders as of the hub, and our
float model beside a library's own forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import Imported, Overrides, load
from tests.importers.timm_models import MEAN, STD, pixels, timm  # torchvision can be imported then

__all__ = ["difference", "hub_folder", "prediction", "random_images", "refusal", "timm"]


#: Small networks gain nothing from threads, and lose where the machine is busy.
torch.set_num_threads(1)


def random_images(imported: Imported, count: int = 2, seed: int = 1) -> np.ndarray:
    image = imported.model.image
    shape = (count, image.height, image.width, image.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def prediction(imported: Imported, images: np.ndarray) -> np.ndarray:
    """Of all tasks together, as the notes say: the sum for DINOv2's head, the mean for a distilled DeiT's."""
    network = imported.network(np.float32)
    outputs = [network.run(images, task.name) for task in imported.model.tasks]
    names = [task.name for task in imported.model.tasks]
    found = np.sum(outputs, 0) if "classify_mean" in names else np.mean(outputs, 0)
    return found if imported.model.tasks[0].head == "none" else found[:, 0]


def difference(imported: Imported, model: Any, mean: Any = MEAN, std: Any = STD) -> float:
    """From what `model` computes of normalised pixels: the largest, as a share of the largest value."""
    images = random_images(imported)
    with torch.no_grad():
        wanted = model(pixels(images, np.array(mean), np.array(std)))
    for key in ("logits", "image_embeds", "last_hidden_state"):
        if hasattr(wanted, key):
            wanted = getattr(wanted, key)
            break
    found, values = prediction(imported, images), wanted.numpy()
    if found.ndim == 3 and values.ndim == 2:
        found = found[:, 0]
    assert found.shape == values.shape
    return float(np.abs(found - values).max() / np.abs(values).max())


def hub_folder(folder: Path, model: Any, config: dict[str, Any] | None = None) -> Path:
    """A folder of the hub with a network's weights in PyTorch's format, and a config."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def refusal(path: Path, format: str = "auto", overrides: Overrides | None = None) -> str:
    """The message of an import that must fail."""
    try:
        load(path, format, overrides)
    except HwgenError as error:
        return error.text().replace(str(path), "DIR")
    raise AssertionError(f"{path} was imported")
