"""Statistics of the intermediate tensors over the calibration images. Tested by tests/quantize/test_pipeline.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options

#: Histograms, where ranges need any, of the 8-bit tensors. GELU's outputs have one scale whatever the method.
HISTOGRAMS = {"hidden": "tensor"} | dict.fromkeys(("norm1", "norm2", "norm", "q", "k", "v", "context"), "channel")

Statistics = dict[str, Observer]


def calibrate(model: FloatModel, images: np.ndarray, progress: Callable[[str], None], options: Options) -> Statistics:
    """Run all tasks over the images uint8 [B, H, W, C]; tensors before the heads share their statistics.

    The names are the taps of `FloatModel.run`.
    """
    seen: Statistics = {}

    def tap(name: str, value: np.ndarray) -> None:
        if name not in seen:
            histogram = "none" if options.ranges == "minmax" else HISTOGRAMS.get(name.rpartition(".")[2], "none")
            seen[name] = Observer(value.shape[-1], histogram)
        seen[name].see(value)

    for task in model.model.tasks:
        for part in model.chunks(len(images)):
            progress(f"calibrating {task.name}: image {part.start} of {len(images)}")
            model.run(images[part], task.name, tap)
    return seen
