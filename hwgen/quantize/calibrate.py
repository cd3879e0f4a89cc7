"""Statistics of the intermediate tensors over the calibration images. Tested by tests/quantize/test_pipeline.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.network.description import DenseMlp
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options

#: Histograms, where ranges need any, of the 8-bit tensors. GELU's outputs have one scale whatever the method.
HISTOGRAMS = {"hidden": "tensor"} | dict.fromkeys(
    ("norm_pre", "norm1", "norm2", "rescale1", "rescale2", "norm", "map_norm", "q", "k", "v", "context", "up"),
    "channel",
)

#: Inputs of linear layers, whose covariance second-order rounding asks for.
INPUTS = ("pixels", "norm1", "norm2", "rescale1", "rescale2", "context", "hidden", "norm", "map_norm", "mlp", "mean")
#: So many rows of a tensor in its covariance, about, from images evenly apart.
COVARIANCE_ROWS = 1 << 13

Statistics = dict[str, Observer]


def calibrate(model: FloatModel, images: np.ndarray, progress: Callable[[str], None], options: Options) -> Statistics:
    """Run all tasks over the images uint8 [B, H, W, C]; tensors before the heads share their statistics.

    The names are the taps of `FloatModel.run`.
    """
    seen: Statistics = {}
    #: Whose channels have steps of their own.
    gated = {f"layers.{index}.hidden" for index, layer in enumerate(model.model.layers)
             if isinstance(layer.mlp, DenseMlp) and layer.mlp.gated}  # fmt: skip
    joint = False  #: whether the images in hand are some of those for the covariances

    def tap(name: str, value: np.ndarray) -> None:
        kind = name.rpartition(".")[2]
        if kind == "pre":  # its scale is given
            return
        if name not in seen:
            histogram = "channel" if name in gated else HISTOGRAMS.get(kind, "none")
            seen[name] = Observer(value.shape[-1], "none" if options.ranges == "minmax" else histogram)
        seen[name].see(value)
        if joint and kind in INPUTS:
            seen[name].see_products(value)

    parts = model.chunks(len(images))
    wanted = max(1, COVARIANCE_ROWS * len(parts) // (model.model.tokens * len(images)))
    some = set(np.linspace(0, len(parts) - 1, min(wanted, len(parts))).astype(int).tolist())
    for task in model.model.tasks:
        for number, part in enumerate(parts):
            progress(f"calibrating {task.name}: image {part.start} of {len(images)}")
            joint = options.rounding == "second_order" and number in some
            model.run(images[part], task.name, tap)
    return seen
