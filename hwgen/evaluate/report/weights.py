"""Bits and bytes of a description's weights."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwgen.network.description import Description


@dataclass(frozen=True)
class Weights:
    """Of one linear layer. bytes: in DRAM, without the padding to an array and without bias and multiplier."""

    outputs: int
    inputs: int
    bits: int

    @property
    def bytes(self) -> int:
        return -(-self.outputs * self.inputs * self.bits // 8)


def weights(description: Description) -> dict[str, Weights]:
    """By name of the linear layer, in the order of the model's parts."""
    bits = description.model.weight_bits
    found = {}
    for name, tensor in description.tensors.items():
        if name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            found[layer] = Weights(tensor.shape[0], tensor.shape[1], bits.get(layer, 8))
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def natural(name: str) -> list[tuple[int, str | int]]:
    """Sorts numbers in names by value."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]
