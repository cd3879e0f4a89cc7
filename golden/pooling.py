"""Attention pooling (SigLIP's MAP head): a constant query attends over the patches, then an MLP with a residual.

Tested by tests/golden/test_model.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.attention import probabilities, weigh
from golden.fixed import matmul, sat8, sat16
from golden.layernorm import Norm
from golden.linear import Linear, Scale
from golden.mlp import Mlp


@dataclass(frozen=True, kw_only=True)
class MapPool:
    """`q` int16 [A] is the query, `rescale`, where a linear layer follows, what brings the result back to nine bits."""

    heads: int
    q: NDArray[np.int16]
    k: Linear
    v: Linear
    score: Scale
    context: Scale
    proj: Linear
    norm: Norm
    mlp: Mlp
    rescale: Norm | None

    @classmethod
    def load(
        cls, tensors: Mapping[str, NDArray], name: str, *, heads: int, activation: str, rms: bool = False
    ) -> MapPool:
        """Take `name.q` to `name.rescale` of a description."""
        return cls(
            heads=heads,
            q=tensors[f"{name}.q"],
            k=Linear.load(tensors, f"{name}.k"),
            v=Linear.load(tensors, f"{name}.v"),
            score=Scale.load(tensors, f"{name}.score"),
            context=Scale.load(tensors, f"{name}.context"),
            proj=Linear.load(tensors, f"{name}.proj"),
            norm=Norm.load(tensors, f"{name}.norm", rms),
            mlp=Mlp.load(tensors, f"{name}.mlp", activation=activation),
            rescale=Norm.load(tensors, f"{name}.rescale") if f"{name}.rescale.gamma" in tensors else None,
        )

    def __call__(self, y: NDArray[np.int16], prefix: int) -> dict[str, NDArray]:
        """All tensors for tokens y -255..255 [B, N, D], `prefix` of them in front of the patches: k and v int8 [B, N,
        A]; of the query q and context -255..255 [B, 1, A], score int16 and prob uint8 [B, heads, 1, patches]; proj and
        mlp int16, map_norm and map_rescale -255..255 [B, 1, D], hidden -255..255 [B, 1, hidden].
        """
        q = np.broadcast_to(self.q, (len(y), 1, len(self.q)))
        k, v = sat8(self.k(y)), sat8(self.v(y))
        score = sat16(self.score(matmul(self._split(q), self._split(k[:, prefix:]))))
        prob = probabilities(score)
        context = weigh(prob, self._split(v[:, prefix:]), self.context).swapaxes(1, 2).reshape(q.shape)
        x = sat16(self.proj(context))
        norm: NDArray[np.int16] = self.norm(x)
        out: dict[str, NDArray] = {"q": q, "k": k, "v": v, "score": score, "prob": prob, "context": context}
        out |= {"proj": x, "map_norm": norm} | self.mlp.dense(x, norm)
        if self.rescale is not None:
            out["map_rescale"] = self.rescale(out["mlp"])
        return out

    def _split(self, a: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
        return a.reshape(*a.shape[:2], self.heads, -1).swapaxes(1, 2)
