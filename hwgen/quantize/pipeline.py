"""Post-training quantization of a float network by the chosen methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.description import Description
from hwgen.floatmodel import FloatModel
from hwgen.quantize.calibrate import calibrate
from hwgen.quantize.convert import convert
from hwgen.quantize.options import Options


def quantize_network(
    network: FloatModel, images: np.ndarray, options: Options, progress: Callable[[str], None]
) -> Description:
    """The quantized description of a network, calibrated on images uint8 [B, H, W, C].

    `progress` is called with a line of text at every step. The same inputs give the same description.
    """
    return convert(network, calibrate(network, images, progress))
