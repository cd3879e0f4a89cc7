"""Post-training quantization of a float network by the chosen methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.network.description import Description
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.calibrate import calibrate
from hwgen.quantize.convert import Converter
from hwgen.quantize.layers import given_layers, linear_layers
from hwgen.quantize.options import Options
from hwgen.quantize.search import check_budget, search


def quantize_network(
    network: FloatModel, images: np.ndarray, options: Options, progress: Callable[[str], None]
) -> Description:
    """The quantized description of a network, calibrated on images uint8 [B, H, W, C].

    `progress` is called with a line of text at every step. The same inputs give the same description.
    """
    given = given_layers(network) if options.keep_weights else {}
    bits = {name: one.bits for name, one in given.items()} | options.bits(linear_layers(network.model))
    check_budget(network, options, bits)
    seen = calibrate(network, images, progress, options)
    if options.mean_bits is not None:
        bits = search(network, images, seen, options, bits, progress)
    return Converter(network, seen, options, bits).description()
