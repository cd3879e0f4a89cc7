"""A norm behind attention or MLP, in front of the residual addition (timm's ResPostBlock).

Tested by tests/golden/test_model.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import add16, sat16
from golden.layernorm import Norm
from golden.linear import Linear


@dataclass(frozen=True, kw_only=True)
class PostNorm:
    """The norm, and the linear layer that adds its output to the residual stream, which is shifted by `shift`."""

    norm: Norm
    stream: Linear
    shift: int

    @classmethod
    def load(
        cls, tensors: Mapping[str, NDArray], layer: str, number: int, *, shift: int, rms: bool = False
    ) -> PostNorm:
        """Take `layer.norm1` and `.stream1` of a description, or those of number 2."""
        return cls(
            norm=Norm.load(tensors, f"{layer}.norm{number}", rms),
            stream=Linear.load(tensors, f"{layer}.stream{number}"),
            shift=shift,
        )

    def __call__(self, x: NDArray[np.int16], update: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """The norm's output -255..255 and the new residual int16 of residual x and update int16, all [B, N, D]."""
        y = self.norm(update)
        return y, add16(x, sat16(self.stream(y)), self.shift)
