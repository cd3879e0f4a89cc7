"""Bits and bytes of a description's weights."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from hwgen.network.description import Description
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.layers import checkpoint_rows, given_layers


@dataclass(frozen=True)
class Weights:
    """Of one linear layer. bytes: in DRAM, without the padding to an array and without bias and multiplier; kept: of a
    checkpoint with integer weights, whether these are the same."""

    outputs: int
    inputs: int
    bits: int
    kept: bool | None = None

    @property
    def bytes(self) -> int:
        return -(-self.outputs * self.inputs * self.bits // 8)


def weights(description: Description, network: FloatModel) -> dict[str, Weights]:
    """By name of the linear layer, in the order of the model's parts."""
    bits, places = description.model.weight_bits, checkpoint_rows(network.model)
    given = given_layers(network)
    found = {}
    for name, tensor in description.tensors.items():
        if name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            kept = None
            if layer in given:
                source, rows = places[layer]
                codes = network.tensors[f"{source}.w"][rows] / given[layer].scales[:, None]
                kept = bool(np.array_equal(np.rint(codes), tensor))
            found[layer] = Weights(tensor.shape[0], tensor.shape[1], bits.get(layer, 8), kept)
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def natural(name: str) -> list[tuple[int, str | int]]:
    """Sorts numbers in names by value."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]
