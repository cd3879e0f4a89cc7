"""What `hwgen quantize` is to do, from a YAML file or from the command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.description import Description
from hwgen.errors import HwgenError
from hwgen.evaluate import task_labels
from hwgen.floatmodel import check_checkpoint
from hwgen.images import load_images
from hwgen.importers import Imported, Overrides, load
from hwgen.importers.files import read_tensors
from hwgen.quantize.config import ImportConfig, QuantizeConfig, structure
from hwgen.quantize.options import Options, parse_options
from hwgen.report import Report, report
from hwgen.strict_yaml import read_yaml, validate

Progress = Callable[[str], None]

COMMAND_LINE = "command line"
#: Pattern of the linear layers of all experts.
EXPERTS = "layers.*.moe.experts.*"


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
        imported = load(path.parent / given.checkpoint, given.format, overrides)
        return Job(imported, path.parent / given.calibration, given.images, given.options)
    config = validate(QuantizeConfig, data, str(path))
    checkpoint = path.parent / config.checkpoint
    tensors = read_tensors(checkpoint)
    model = structure(config, tensors, str(path), str(checkpoint))
    check_checkpoint(model, tensors, str(checkpoint))
    imported = Imported(model, tensors, config.layer_norm_eps, config.normalize.mean, config.normalize.std, "hwgen", [])
    return Job(imported, path.parent / config.calibration, config.images, config.options)


def read(config: Path | None, checkpoint: Path | None, calibration: Path | None, images: int | None, format: str,
         settings: Mapping[str, Any], methods: Mapping[str, Any]) -> Job:  # fmt: skip
    """What the command line asks for. None stands for an option not given.

    `settings` are keys of `Overrides`, `methods` keys of `Options`; a config takes the latter only.
    """
    chosen = {key: value for key, value in settings.items() if value is not None}
    if config is not None:
        given = {"--checkpoint": checkpoint, "--calibration": calibration} | chosen
        for key, value in given.items():
            if value is not None:
                raise HwgenError(COMMAND_LINE, key.removeprefix("--"), expected=f"nothing that {config} tells",
                                 found=str(value), mend=f"write it into {config.name}, or leave that out")  # fmt: skip
        job = read_job(config)
        job = dataclasses.replace(job, images=images or job.images)
    elif checkpoint is None:
        raise HwgenError(COMMAND_LINE, "--checkpoint", expected="a checkpoint, or a quantize.yaml", found="neither")
    elif calibration is None:
        raise HwgenError(COMMAND_LINE, "--calibration", expected="a .npz of images, or a folder of PNG or JPEG files",
                         found="no value given", mend="some 32 to 512 images of the training data will do")  # fmt: skip
    else:
        imported = load(checkpoint, format, validate(Overrides, chosen, COMMAND_LINE))
        job = Job(imported, calibration, images, Options())
    return job.changed({key: value for key, value in methods.items() if value is not None})


def comparison(job: Job, path: Path | None) -> Callable[[Description, Progress], Report]:
    """What makes the report of a description, on the images of `path`, or on those of the calibration.

    Images and labels are read and checked at once, before the long work.
    """
    model = job.imported.model
    images, labels = load_images(path or job.calibration, model.image, None if path else job.images)
    wanted = task_labels(model, labels, str(path or job.calibration))
    return lambda made, progress: report(job.imported.network(np.float32), made, images, wanted, progress)


def parse_size(text: str) -> dict[str, int]:
    """An image's size, HEIGHTxWIDTH, or one number for a square."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found:
        raise HwgenError(COMMAND_LINE, "--image-size", expected="HEIGHTxWIDTH, such as 224x224", found=repr(text))
    return {"height": int(found[1]), "width": int(found[2] or found[1])}


def parse_normalize(mean: str | None, std: str | None) -> dict[str, list[float]] | None:
    """Mean and standard deviation of pixels in 0..1, a number or one per channel, in pixel codes 0..255."""
    if mean is None and std is None:
        return None
    values = {"--mean": mean, "--std": std}
    numbers = {}
    for option, text in values.items():
        try:
            numbers[option] = [255 * float(part) for part in (text or "").split(",")]
        except ValueError:
            raise HwgenError(COMMAND_LINE, option, found="no value given" if text is None else repr(text),
                             expected="numbers for pixels in 0..1, one per channel, such as 0.5,0.5,0.5",
                             mend="--mean and --std go together" if text is None else "") from None  # fmt: skip
    return {"mean": numbers["--mean"], "std": numbers["--std"]}


def parse_tasks(text: str) -> list[dict[str, str]]:
    """Tasks `NAME` or `NAME:HEAD`, by commas."""
    return [dict(zip(("name", "head"), part.split(":", 1))) for part in text.split(",")]


def parse_weight_bits(expert_bits: int | None, settings: Sequence[str]) -> dict[str, Any] | None:
    """Bits of all experts, and settings `PATTERN=BITS`."""
    found: dict[str, Any] = {} if expert_bits is None else {EXPERTS: expert_bits}
    for setting in settings:
        pattern, equals, bits = setting.rpartition("=")
        if not equals or not bits.isdecimal():
            raise HwgenError(COMMAND_LINE, "--weight-bits", expected="PATTERN=4 or PATTERN=8", found=repr(setting),
                             mend="for example `layers.*.mlp.*=4`")  # fmt: skip
        found[pattern] = int(bits)
    return found or None
