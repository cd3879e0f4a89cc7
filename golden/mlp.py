"""The two-layer perceptron of a dense layer and of one expert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import add16, sat16
from golden.gelu import Gelu
from golden.linear import Linear


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """`fc1` maps D to hidden channels in steps of 2^-6, `fc2` maps back to the residual's scale."""

    fc1: Linear
    gelu: Gelu
    fc2: Linear

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str) -> Mlp:
        """Take `name.fc1`, `.gelu` and `.fc2` of a description."""
        return cls(
            fc1=Linear.load(tensors, f"{name}.fc1"),
            gelu=Gelu.load(tensors, f"{name}.gelu"),
            fc2=Linear.load(tensors, f"{name}.fc2"),
        )

    def hidden(self, y: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Post-GELU activations uint8 [..., hidden] of y int8 [..., D]."""
        return self.gelu(self.fc1(y))

    def dense(self, x: NDArray[np.int16], y: NDArray[np.int8]) -> dict[str, NDArray]:
        """`hidden` uint8 [B, N, hidden] and `mlp`, the new residual, for x int16 and its LayerNorm y [B, N, D]."""
        hidden = self.hidden(y)
        return {"hidden": hidden, "mlp": add16(x, sat16(self.fc2(hidden)))}
