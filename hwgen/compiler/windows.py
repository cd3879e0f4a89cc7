"""Windows of hidden channels: further operands of the same channel, each with a zero point of its own.

What a channel's activation has beyond the 511 codes of its first window is in its second one, and so on (numerics.md,
"MLP and activation"). The matmuls know nothing of it: fc1 is run again for these channels, with another zero point and
to other channels of H, and fc2 has their weights again. Tested by tests/compiler/test_windows.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwgen.network.description import DenseMlp, Description

if TYPE_CHECKING:
    from hwgen.compiler.builder import Builder
    from hwgen.compiler.ring import Matrix

__all__ = ["WINDOW", "Windows"]

#: Codes from one window to the next.
WINDOW = 510


@dataclass(frozen=True)
class Windows:
    """`channels`: of each further window, those of the layer that have it. `positions`: the buffer channel of each
    operand, windows one behind the other; each begins with a word. `used`: buffer channels in all."""

    channels: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...], ...]
    used: int

    @classmethod
    def of(cls, desc: Description, layer: int, word: int) -> Windows:
        """Of a dense layer; `word`: channels of a word of H."""
        mlp = desc.model.layers[layer].mlp
        assert isinstance(mlp, DenseMlp)
        channels: list[tuple[int, ...]] = []
        if mlp.windows > 1:
            count = desc.tensors[f"layers.{layer}.mlp.activation.windows"]
            channels = [tuple(np.flatnonzero(count > window).tolist()) for window in range(1, int(count.max()))]
        positions, end = [tuple(range(mlp.hidden))], mlp.hidden
        for group in channels:
            first = -(-end // word) * word
            end = first + len(group)
            positions.append(tuple(range(first, end)))
        return cls(tuple(channels), tuple(positions), end)

    def second(self, b: Builder, name: str) -> Matrix:
        """fc2's matrix: further windows have their channels' weights again."""
        further = tuple(channel for group in self.channels for channel in group)
        return b.matrix(name, inputs=(self.operands, self.used) if further else None, continued=further)

    @property
    def operands(self) -> tuple[int, ...]:
        """The buffer channel of each operand, in the order of golden's tensor."""
        return tuple(position for group in self.positions for position in group)
