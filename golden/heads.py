"""Task heads: an optional LayerNorm or rescale, a choice or mean of tokens, a linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import sat9, sat16
from golden.layernorm import Norm
from golden.linear import Linear, Scale
from golden.pooling import MapPool

#: Heads that read one token, and which.
TOKENS = {"class_token": 0, "distillation_token": 1}
HEADS = (*TOKENS, "mean", "mean_norm", "map", "every_token", "none")


def mean_tokens(y: NDArray[np.int16], scale: Scale) -> NDArray[np.int16]:
    """`sat9(rshift((sum over tokens of y)·M, S))`, -255..255 [B, 1, D], of patch tokens y -255..255 [B, patches, D]."""
    return sat9(scale(y.sum(axis=1, keepdims=True, dtype=np.int64)))


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The mean over the patch tokens of the residual stream, in front of a norm: int8 and back to int16."""

    rescale: Norm
    mean: Scale
    pool: Linear

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str) -> Pool:
        """Take `name.rescale`, `name.mean` and `name.pool` of a description."""
        return cls(
            rescale=Norm.load(tensors, f"{name}.rescale"),
            mean=Scale.load(tensors, f"{name}.mean"),
            pool=Linear.load(tensors, f"{name}.pool"),
        )

    def __call__(self, x: NDArray[np.int16], prefix: int) -> dict[str, NDArray]:
        """`rescale` -255..255 [B, N, D], `mean` -255..255 and `pool` int16 [B, 1, D] of x int16 [B, N, D]."""
        rescaled = self.rescale(x)
        mean = mean_tokens(rescaled[:, prefix:], self.mean)
        return {"rescale": rescaled, "mean": mean, "pool": sat16(self.pool(mean))}


@dataclass(frozen=True, kw_only=True)
class Head:
    """One task's head.

    `norm` is its LayerNorm or rescale, `mean` is set for `kind` "mean", `pool` for "mean_norm", `linear` for all but
    "none" (and for "map" if there is one), `map` for "map". `prefix` tokens are in front of the patches.
    """

    kind: str
    prefix: int
    pool: Pool | None
    norm: Norm | None
    mean: Scale | None
    linear: Linear | None
    map: MapPool | None = None

    @classmethod
    def load(
        cls, tensors: Mapping[str, NDArray], name: str, *, kind: str, norm: bool, prefix: int, heads: int = 1,
        activation: str = "", rms: bool = False,
    ) -> Head:  # fmt: skip
        """Take `name.norm`, `.rescale`, `.mean`, `.pool`, `.map` and `.head`, as far as the kind has them; `heads` and
        `activation` are those of the kind "map"; `rms`: of the norms."""
        if kind not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, not {kind!r}")
        plain = kind == "none" and not norm
        return cls(
            kind=kind,
            prefix=prefix,
            pool=Pool.load(tensors, name) if kind == "mean_norm" else None,
            norm=None if plain else Norm.load(tensors, f"{name}.norm" if norm else f"{name}.rescale", rms),
            mean=Scale.load(tensors, f"{name}.mean") if kind == "mean" else None,
            linear=Linear.load(tensors, f"{name}.head") if f"{name}.head.weight" in tensors else None,
            map=MapPool.load(tensors, f"{name}.map", heads=heads, activation=activation, rms=rms)
            if kind == "map"
            else None,
        )

    def __call__(self, x: NDArray[np.int16]) -> dict[str, NDArray]:
        """`output` int16 [B, rows, outputs] of the last residual x int16 [B, N, D].

        rows: 1 (one token, mean, map), patches (every_token) or N (none, where outputs is D). Also, -255..255,
        `norm` [B, N, D] (after a pool [B, 1, D]), `mean` [B, 1, D] and those of `Pool`, where the head has them.
        """
        out: dict[str, NDArray] = {}
        if self.pool is not None:
            out |= self.pool(x, self.prefix)
            x = out["pool"]
        if self.norm is None:
            out["output"] = x
            return out
        y = out["norm"] = self.norm(x)
        if self.map is not None:
            out |= self.map(y, self.prefix)
            if self.linear is None:
                out["output"] = out["mlp"]
                return out
        if self.linear is None:
            out["output"] = y
            return out
        if self.map is not None:
            rows = out["map_rescale"]
        elif self.kind in TOKENS:
            rows = y[:, TOKENS[self.kind]][:, None]
        elif self.mean is not None:
            rows = out["mean"] = mean_tokens(y[:, self.prefix :], self.mean)
        else:
            rows = y if self.pool else y[:, self.prefix :]
        out["output"] = sat16(self.linear(rows))
        return out
