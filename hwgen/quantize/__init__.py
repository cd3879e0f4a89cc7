"""Post-training quantization: a float checkpoint and calibration images give a quantized description.

Symmetric int8 weights per output channel, activations by minimum and maximum over the calibration images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hwgen.description import Description, Model, load, save
from hwgen.errors import HwgenError
from hwgen.floatmodel import FloatModel, check_checkpoint
from hwgen.quantize.calibrate import calibrate
from hwgen.quantize.config import QuantizeConfig, structure
from hwgen.quantize.convert import convert
from hwgen.strict_yaml import read_yaml, validate

__all__ = ["float_network", "quantize", "read_config", "run"]

Progress = Callable[[str], None]


def run(config_path: Path | str, output_dir: Path | str, progress: Progress | None = None) -> Description:
    """Quantize as the YAML file says and write `model.yaml` and the weights to `output_dir`.

    `progress` is called with a line of text at every step. The same inputs give the same bytes.
    """
    description = quantize(config_path, progress)
    path = save(description, output_dir)
    if progress:
        progress(f"wrote {path}")
    return load(path)


def quantize(config_path: Path | str, progress: Progress | None = None) -> Description:
    """The description, in memory."""
    config_path = Path(config_path)
    config = read_config(config_path)
    # Double precision keeps a machine's own rounding out of the ranges, see RANGE_BITS.
    network = float_network(config_path, dtype=np.float64)
    path = config_path.parent / config.calibration
    images = _images(_read_npz(path), network.model, path)
    return convert(network, calibrate(network, images, progress or (lambda line: None)))


def read_config(config_path: Path | str) -> QuantizeConfig:
    """The checked `quantize.yaml`."""
    return validate(QuantizeConfig, read_yaml(Path(config_path)), str(config_path))


def float_network(config_path: Path | str, dtype: type[np.floating] = np.float32) -> FloatModel:
    """The float network `quantize.yaml` names."""
    config_path = Path(config_path)
    config = read_config(config_path)
    path = config_path.parent / config.checkpoint
    tensors = _read_npz(path)
    model = structure(config, tensors, str(config_path), str(path))
    check_checkpoint(model, tensors, str(path))
    return FloatModel(model, tensors, eps=config.layer_norm_eps, mean=config.normalize.mean,
                      std=config.normalize.std, dtype=dtype)  # fmt: skip


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise HwgenError(str(path), expected="a readable .npz file", found=error.strerror or str(error),
                         mend="check the path in the quantizer's YAML file") from None  # fmt: skip
    except Exception as error:  # NumPy and zipfile each raise several kinds for a broken archive
        raise HwgenError(str(path), expected="a NumPy .npz file", found=str(error)) from None


def _images(arrays: dict[str, np.ndarray], model: Model, path: Path) -> np.ndarray:
    """Calibration images uint8 [B, H, W, C]; grey images may lack the last axis."""
    if "images" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise HwgenError(str(path), "images", expected="an array `images`", found=found)
    images = arrays["images"]
    if images.ndim == 3:
        images = images[..., None]
    shape = (model.image.height, model.image.width, model.image.channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        raise HwgenError(str(path), "images", expected=f"uint8 [at least 1, {shape[0]}, {shape[1]}, {shape[2]}]",
                         found=f"{images.dtype.name} {list(images.shape)}")  # fmt: skip
    return images
