"""The two-layer perceptron of a dense layer and of one expert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.activation import Activation
from golden.fixed import add16, sat16
from golden.linear import Linear


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """`fc1` maps D to hidden channels in steps of 2^-7, `fc2` maps back to the residual's scale.

    `shift` is what the residual stream is shifted by where a dense layer's output is added.
    """

    fc1: Linear
    activation: Activation
    fc2: Linear
    shift: int = 0

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str, *, activation: str, shift: int = 0) -> Mlp:
        """Take `name.fc1`, `.activation` and `.fc2` of a description."""
        return cls(
            fc1=Linear.load(tensors, f"{name}.fc1"),
            activation=Activation.load(tensors, f"{name}.activation", activation),
            fc2=Linear.load(tensors, f"{name}.fc2"),
            shift=shift,
        )

    def hidden(self, y: NDArray[np.int16]) -> NDArray[np.int16]:
        """Activations -255..255 [..., hidden] of y -255..255 [..., D]."""
        return self.activation(self.fc1(y))

    def dense(self, x: NDArray[np.int16], y: NDArray[np.int16]) -> dict[str, NDArray]:
        """`hidden` [B, N, hidden] and `mlp`, the new residual, for x int16 and its LayerNorm y [B, N, D]."""
        hidden = self.hidden(y)
        return {"hidden": hidden, "mlp": add16(x, sat16(self.fc2(hidden)), self.shift)}
