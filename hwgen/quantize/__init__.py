"""Post-training quantization: a float checkpoint and calibration images give a quantized description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hwgen.network.description import Description, load, save
from hwgen.network.floatmodel import FloatModel
from hwgen.network.images import load_images
from hwgen.quantize.job import Job, read_job
from hwgen.quantize.pipeline import quantize_network

__all__ = ["Job", "float_network", "quantize", "quantize_job", "quantize_network", "read_job", "run"]

Progress = Callable[[str], None]


def run(
    config: Path | str | Job, output_dir: Path | str, progress: Progress | None = None, note: Progress | None = None
) -> Description:
    """Quantize as the YAML file or the job says and write `model.yaml` and the weights to `output_dir`.

    `progress` is called with a line of text at every step. The same inputs give the same bytes.
    """
    path = save(quantize(config, progress, note), output_dir)
    if progress:
        progress(f"wrote {path}")
    return load(path)


def quantize(
    config: Path | str | Job, progress: Progress | None = None, note: Progress | None = None
) -> Description:
    """The description that a `quantize.yaml`, or what was read of one, asks for, in memory."""
    return quantize_job(config if isinstance(config, Job) else read_job(config), progress, note)


def quantize_job(job: Job, progress: Progress | None = None, note: Progress | None = None) -> Description:
    """The description of a network read from a checkpoint, calibrated on the job's images.

    `note` is called with what was done to the images, if anything.
    """
    say = progress or (lambda line: None)
    images, _ = load_images(
        job.calibration, job.imported.model.image, job.images, note, resize=job.imported.resize
    )  # fmt: skip
    return quantize_network(job.imported.network(), images, job.options, say)


def float_network(config_path: Path | str, dtype: type[np.floating] = np.float32) -> FloatModel:
    """The float network `quantize.yaml` names."""
    return read_job(config_path).imported.network(dtype)
