"""Weights on their way to the engine: matrices as they are streamed, and which of them stay in the ring.

Tested by tests/compiler/test_order.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwgen.compiler.layout import div_up, dot_steps
from hwgen.compiler.packing import pack_linear, spread
from hwgen.machine.isa import BY_NAME
from hwgen.machine.params import HwParams
from hwgen.network.description import Description

__all__ = ["Channels", "Made", "Matrix", "Ring"]

#: Where heads are padded: the buffer channel of each channel, and the number of buffer channels.
Channels = tuple[Sequence[int], int]


@dataclass(frozen=True)
class Matrix:
    """Weights and parameters of a linear layer on one accelerator, its channels spread to where buffers have them.

    window: of the outputs, only these channels, for a further window of theirs. continued: input channels that come
    again behind the others, as further windows whose operands begin at -255.
    """

    desc: Description
    p: HwParams
    linear: str
    outputs: Channels | None = None
    inputs: Channels | None = None
    window: tuple[int, ...] | None = None
    continued: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Its name in ring and region: a window's is not the layer's."""
        return self.linear if self.window is None else f"{self.linear} of {','.join(map(str, self.window))}"

    @property
    def tiles(self) -> int:
        return div_up(self._size(0, self.outputs), self.p.c)

    @property
    def k_steps(self) -> int:
        return dot_steps(self.p, self._size(1, self.inputs))

    @property
    def narrow(self) -> bool:
        """The weights are packed two to a byte in DRAM."""
        return self.linear in self.desc.model.weight_bits

    @property
    def words(self) -> int:
        """In the ring."""
        return self.tiles * (self.p.param_words + self.k_steps)

    def pack(self) -> bytes:
        weight, bias, mult, shift = self._tensors()
        if self.inputs:
            weight = spread(weight, *self.inputs, axis=1)
        if self.outputs:
            weight, bias, mult, shift = (spread(array, *self.outputs) for array in (weight, bias, mult, shift))
        return pack_linear(self.p, weight, bias, mult, shift, narrow=self.narrow)

    def _size(self, axis: int, channels: Channels | None) -> int:
        return channels[1] if channels else self._tensors()[0].shape[axis]

    def _tensors(self) -> tuple[NDArray, ...]:
        """weight, bias, mult, shift."""
        parts = ("weight", "bias", "mult", "shift")
        weight, bias, mult, shift = (self.desc.tensors[f"{self.linear}.{part}"] for part in parts)
        if self.window is not None:
            weight, bias, mult, shift = (array[list(self.window)] for array in (weight, bias, mult, shift))
        if self.continued:
            again = weight[:, list(self.continued)]
            weight, bias = np.hstack([weight, again]), bias + 255 * again.sum(1, dtype=np.int32)
        return weight, bias, mult, shift


@dataclass(frozen=True)
class Made(Matrix):
    """One that the description has no tensors for: `weight` int8 [out, in], `bias` int32 [out], sums as they are."""

    weight: NDArray[np.int8] = field(kw_only=True)
    bias: NDArray[np.int32] = field(kw_only=True)

    @property
    def narrow(self) -> bool:
        return False

    def _tensors(self) -> tuple[NDArray, ...]:
        count = len(self.bias)
        return self.weight, self.bias, np.ones(count, np.uint16), np.zeros(count, np.uint8)


@dataclass
class Ring:
    """What stays in the weight ring for later row blocks, in the order in which it came; the first leaves first."""

    depth: int
    kept: dict[str, int] = field(default_factory=dict)  #: words by the matrix's name

    def holds(self, *matrices: Matrix) -> bool:
        """They may be kept at the same time."""
        limit = min(self.depth, (1 << BY_NAME["ring_offset"].bits) - 1)
        return sum(matrix.words for matrix in matrices) <= limit

    def use(self, matrix: Matrix, last: bool) -> tuple[bool, int]:
        """Whether the matrix is to be fetched, and where it lies; `last`: it leaves."""
        fetch = matrix.key not in self.kept
        offset = 0
        for name, words in self.kept.items():
            if name == matrix.key:
                break
            offset += words
        self.kept[matrix.key] = matrix.words
        if last:
            assert offset == 0, f"{matrix.key} cannot leave before {next(iter(self.kept))}"
            del self.kept[matrix.key]
        return fetch, offset
