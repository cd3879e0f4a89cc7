"""Task heads: an optional LayerNorm or rescale, a choice or mean of tokens, a linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import sat8, sat16
from golden.layernorm import Norm
from golden.linear import Linear, Scale

#: Heads that read one token, and which.
TOKENS = {"class_token": 0, "distillation_token": 1}
HEADS = (*TOKENS, "mean", "every_token", "none")


def mean_tokens(y: NDArray[np.int8], scale: Scale) -> NDArray[np.int8]:
    """`sat8(rshift((sum over tokens of y)·M, S))`, int8 [B, 1, D], of patch tokens y int8 [B, patches, D]."""
    return sat8(scale(y.sum(axis=1, keepdims=True, dtype=np.int64)))


@dataclass(frozen=True, kw_only=True)
class Head:
    """One task's head.

    `norm` is its LayerNorm or rescale, `mean` is set for `kind` "mean", `linear` for all but "none". `prefix` tokens
    are in front of the patches.
    """

    kind: str
    prefix: int
    norm: Norm | None
    mean: Scale | None
    linear: Linear | None

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str, *, kind: str, norm: bool, prefix: int) -> Head:
        """Take `name.norm` or `name.rescale`, `name.mean` and `name.head`, as far as the kind has them."""
        if kind not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, not {kind!r}")
        plain = kind == "none" and not norm
        return cls(
            kind=kind,
            prefix=prefix,
            norm=None if plain else Norm.load(tensors, f"{name}.norm" if norm else f"{name}.rescale"),
            mean=Scale.load(tensors, f"{name}.mean") if kind == "mean" else None,
            linear=None if kind == "none" else Linear.load(tensors, f"{name}.head"),
        )

    def __call__(self, x: NDArray[np.int16]) -> dict[str, NDArray]:
        """`output` int16 [B, rows, outputs] of the last residual x int16 [B, N, D].

        rows: 1 (one token, mean), patches (every_token) or N (none, where outputs is D). Also `norm` int8 [B, N, D]
        and `mean` int8 [B, 1, D] where the head has them.
        """
        out: dict[str, NDArray] = {}
        if self.norm is None:
            out["output"] = x
            return out
        y = out["norm"] = self.norm(x)
        if self.linear is None:
            out["output"] = y.astype(np.int16)
            return out
        patches = y[:, self.prefix :]
        if self.kind in TOKENS:
            rows = y[:, TOKENS[self.kind]][:, None]
        elif self.mean is not None:
            rows = out["mean"] = mean_tokens(patches, self.mean)
        else:
            rows = patches
        out["output"] = sat16(self.linear(rows))
        return out
