"""What `hwgen quantize` is to do, from a YAML file or from the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwgen.common.beside import beside
from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.common.strict_yaml import read_yaml, validate
from hwgen.importers import Imported, Overrides, load
from hwgen.importers.activation import canonical
from hwgen.importers.files import read_tensors
from hwgen.network.floatmodel import check_checkpoint
from hwgen.quantize.config import ImportConfig, QuantizeConfig, structure
from hwgen.quantize.options import Options, parse_options


@dataclass(frozen=True)
class Job:
    """A float network, the path of its calibration images, how many of them (None: all), and the method."""

    imported: Imported
    calibration: Path
    images: int | None
    options: Options

    def changed(self, options: Mapping[str, Any]) -> Job:
        """With these options instead of those of the file; patterns of `weight_bits` are added."""
        data = self.options.model_dump(exclude_unset=True) | dict(options)
        if "weight_bits" in options:
            data["weight_bits"] = self.options.weight_bits | options["weight_bits"]
        return dataclasses.replace(self, options=parse_options(data, COMMAND_LINE))


def read_job(path: Path | str) -> Job:
    """What a `quantize.yaml` asks for. Its paths are relative to it."""
    path = Path(path)
    data = read_yaml(path)
    if isinstance(data, dict) and data.get("format", "hwgen") != "hwgen":
        given = validate(ImportConfig, data, str(path))
        overrides = Overrides(**{key: getattr(given, key) for key in Overrides.model_fields})
        imported = load(beside(path, "checkpoint", given.checkpoint), given.format, overrides)
        return Job(imported, beside(path, "calibration", given.calibration), given.images, given.options)
    config = validate(QuantizeConfig, data, str(path))
    checkpoint = beside(path, "checkpoint", config.checkpoint)
    tensors = read_tensors(checkpoint)
    model = structure(config, tensors, str(path), str(checkpoint))
    check_checkpoint(model, tensors, str(checkpoint))
    imported = Imported(model, tensors, config.layer_norm_eps, config.normalize.mean, config.normalize.std,
                        canonical(config.activation), "hwgen", [], [])  # fmt: skip
    return Job(imported, beside(path, "calibration", config.calibration), config.images, config.options)


def read(config: Path | None, checkpoint: Path | None, calibration: Path | None, images: int | None, format: str,
         settings: Mapping[str, Any], methods: Mapping[str, Any]) -> Job:  # fmt: skip
    """What the command line asks for. None stands for an option not given.

    `settings` are keys of `Overrides`, `methods` keys of `Options`; a config takes the latter only.
    """
    if config is not None:
        _refuse(config, {"checkpoint": checkpoint, "calibration": calibration} | dict(settings))
        job = read_job(config)
        job = dataclasses.replace(job, images=images or job.images)
    elif checkpoint is None:
        raise HwgenError(COMMAND_LINE, "--checkpoint", expected="a checkpoint, or a quantize.yaml", found="neither")
    elif calibration is None:
        raise HwgenError(COMMAND_LINE, "--calibration", expected="a .npz of images, or a folder of PNG or JPEG files",
                         found="no value given", mend="some 32 to 512 images of the training data will do")  # fmt: skip
    else:
        job = Job(_load(checkpoint, format, settings), calibration, images, Options())
    return job.changed({key: value for key, value in methods.items() if value is not None})


def read_network(path: Path, format: str, settings: Mapping[str, Any]) -> Imported:
    """The float network of a `quantize.yaml`, or of a checkpoint with `settings`, keys of `Overrides`."""
    if path.suffix in (".yaml", ".yml"):
        _refuse(path, settings)
        return read_job(path).imported
    return _load(path, format, settings)


def _load(checkpoint: Path, format: str, settings: Mapping[str, Any]) -> Imported:
    chosen = {key: value for key, value in settings.items() if value is not None}
    return load(checkpoint, format, validate(Overrides, chosen, COMMAND_LINE))


def _refuse(config: Path, given: Mapping[str, Any]) -> None:
    """HwgenError if something is given that a config tells."""
    for key, value in given.items():
        if value is not None:
            raise HwgenError(COMMAND_LINE, key, expected=f"nothing that {config} tells", found=str(value),
                             mend=f"write it into {config.name}, or leave that out")  # fmt: skip
