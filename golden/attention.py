"""Multi-head attention with a base-2 softmax whose division is done once per row, after the product with V."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import add16, matmul, sat8, sat9, sat16
from golden.layernorm import Norm
from golden.linear import Linear, Scale
from golden.postnorm import PostNorm
from hwgen.machine.tables import EXP

#: 32·p, rounded down, for every u up to the first that gives zero whatever follows (u >> 5 >= 13).
_POWERS = (np.tile(np.array(EXP), 14) >> (np.arange(14 * 32) >> 5)).astype(np.int16)


def dither(keys: int) -> NDArray[np.int16]:
    """What is added to 32·p of each key before its five bits are cut off: key n's five low bits in reverse order."""
    bits = np.arange(keys)[:, None] >> np.arange(5) & 1
    return (bits @ (1 << np.arange(4, -1, -1))).astype(np.int16)


def probabilities(t: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Unnormalised probabilities uint8, 255 at the row's maximum, of scores t int16 [..., N] (log2, 5 fraction bits).

    `p = ((EXP[u & 31] >> (u >> 5)) + dither) >> 5` with `u = max(t) - t`, that is about `255 * 2^(-u/32)`. The dither
    rounds neighbouring keys at different places, so that what many small probabilities lose is gained by others.
    """
    wide = t.astype(np.int32)
    u = wide.max(axis=-1, keepdims=True) - wide
    return ((_POWERS[np.minimum(u, len(_POWERS) - 1)] + dither(t.shape[-1])) >> 5).astype(np.uint8)


def weigh(p: NDArray[np.uint8], v: NDArray[np.int8], scale: Scale) -> NDArray[np.int16]:
    """Context -255..255 [..., N, d] of probabilities p uint8 [..., N, N] and values v int8 [..., N, d].

    The row factor `R = floor(2^24 / sum(p))` divides; `sum(p) >= 255` as the maximum is in every row.
    """
    factor = (1 << 24) // p.sum(axis=-1, keepdims=True, dtype=np.int64)
    return sat9(scale(matmul(p, v.swapaxes(-1, -2)), factor))


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Parameters of one attention layer; `q`, `k`, `v` map D to heads*head_dim channels, `proj` maps back.

    `shift` is what the residual stream is shifted by where the output is added. With `q_norm` and `k_norm` [head_dim] q
    and k are int16 first, of which each head is normalised. `behind`: a norm in front of the addition.
    """

    heads: int
    q: Linear
    k: Linear
    v: Linear
    score: Scale
    context: Scale
    proj: Linear
    shift: int = 0
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    behind: PostNorm | None = None

    @classmethod
    def load(
        cls, tensors: Mapping[str, NDArray], name: str, heads: int, shift: int = 0, rms: bool = False,
        behind: PostNorm | None = None,
    ) -> Attention:  # fmt: skip
        """Take `name.q` to `name.proj` of a description; `rms`: of its norms, if there are any."""
        return cls(
            heads=heads,
            q=Linear.load(tensors, f"{name}.q"),
            k=Linear.load(tensors, f"{name}.k"),
            v=Linear.load(tensors, f"{name}.v"),
            score=Scale.load(tensors, f"{name}.score"),
            context=Scale.load(tensors, f"{name}.context"),
            proj=Linear.load(tensors, f"{name}.proj"),
            shift=shift,
            q_norm=Norm.load(tensors, f"{name}.q_norm", rms) if f"{name}.q_norm.gamma" in tensors else None,
            k_norm=Norm.load(tensors, f"{name}.k_norm", rms) if f"{name}.k_norm.gamma" in tensors else None,
            behind=behind,
        )

    def __call__(self, x: NDArray[np.int16], y: NDArray[np.int16]) -> dict[str, NDArray]:
        """All tensors of the layer for residual x int16 [B, N, D] and its norm or rescale y -255..255 [B, N, D].

        Returns q and context -255..255, k and v int8 [B, N, A], score int16 and prob uint8 [B, heads, N, N], attn
        (the new residual) int16 [B, N, D]; with norms of q and k also q_proj and k_proj int16 [B, N, A]; with one
        behind also proj int16 and norm1 -255..255 [B, N, D].
        """
        out: dict[str, NDArray] = {}
        if self.q_norm and self.k_norm:
            out = {"q_proj": sat16(self.q(y)), "k_proj": sat16(self.k(y))}
            q = self._merge(self.q_norm(self._split(out["q_proj"])))
            k = sat8(self._merge(self.k_norm(self._split(out["k_proj"]))).astype(np.int64))
        else:
            q, k = sat9(self.q(y)), sat8(self.k(y))
        v = sat8(self.v(y))
        score = sat16(self.score(matmul(self._split(q), self._split(k))))
        prob = probabilities(score)
        context = self._merge(weigh(prob, self._split(v), self.context))
        update = sat16(self.proj(context))
        if self.behind is None:
            attn = add16(x, update, self.shift)
        else:
            out["proj"] = update
            out["norm1"], attn = self.behind(x, update)
        return out | {"q": q, "k": k, "v": v, "score": score, "prob": prob, "context": context, "attn": attn}

    def _split(self, a: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
        """[B, N, A] to [B, heads, N, head_dim]: heads are contiguous slices of the channels."""
        return a.reshape(*a.shape[:2], self.heads, -1).swapaxes(1, 2)

    @staticmethod
    def _merge(a: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
        """[B, heads, N, head_dim] to [B, N, A]."""
        return a.swapaxes(1, 2).reshape(len(a), a.shape[2], -1)
