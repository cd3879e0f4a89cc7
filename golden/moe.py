"""Mixture of experts: gate, top-k routing, experts in order of their index (M3ViT, Edge-MoE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.fixed import Int64, add16, rshift, sat16, sat24
from golden.linear import Linear
from golden.mlp import Mlp
from hwgen.machine.tables import GATE_EXP

#: Gates: softmax over all experts, then top-k; or top-k, then softmax over the winners.
GATES = ("softmax_topk", "topk_softmax")

#: p for every u up to the first that gives zero whatever follows (u >> 8 >= 17).
_PROB = rshift(np.tile(np.array(GATE_EXP), 18), np.arange(18 * 256) >> 8)


def top_k(t: NDArray[np.int32], k: int) -> NDArray[np.int32]:
    """Indices int32 [..., k], ascending, of the k largest of t [..., experts]; ties go to the lower index."""
    order = np.argsort(-t.astype(np.int64), axis=-1, kind="stable")
    return np.sort(order[..., :k], axis=-1).astype(np.int32)


def gate_probabilities(t: NDArray[np.int32]) -> Int64:
    """Unnormalised probabilities, 16 bits, 65535 at the maximum, of logits t int24 [..., experts] (log2, 16 fraction
    bits): about `65535 * 2^(-u/256)` with `u = rshift(max(t) - t, 8)`.
    """
    wide = t.astype(np.int64)
    u = rshift(wide.max(axis=-1, keepdims=True) - wide, 8)
    return _PROB[np.minimum(u, len(_PROB) - 1)]


def route(t: NDArray[np.int32], k: int, gate: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Winners [..., k] in ascending expert index and their weights [..., k], 65536 = 1.0, of logits t [..., experts].

    `w = rshift(p * floor(2^40 / den), 24)`, `den` the sum of p over all experts or over the winners.
    """
    if gate not in GATES:
        raise ValueError(f"gate must be one of {', '.join(GATES)}, not {gate!r}")
    winners = top_k(t, k)
    p = gate_probabilities(t)
    won = np.take_along_axis(p, winners, axis=-1)
    den = (p if gate == "softmax_topk" else won).sum(axis=-1, keepdims=True)
    return winners, rshift(won * ((1 << 40) // den), 24).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Moe:
    """One MoE layer: a gate Linear(experts, D) per task, the experts, `top_k` and the kind of `gate`."""

    gates: Mapping[str, Linear]
    experts: Sequence[Mlp]
    top_k: int
    gate: str

    @classmethod
    def load(
        cls,
        tensors: Mapping[str, NDArray],
        name: str,
        *,
        tasks: Sequence[str],
        experts: int,
        top_k: int,
        gate: str,
        activation: str,
    ) -> Moe:
        """Take `name.gate.T` of every task T and `name.experts.e` of a description."""
        return cls(
            gates={task: Linear.load(tensors, f"{name}.gate.{task}") for task in tasks},
            experts=[Mlp.load(tensors, f"{name}.experts.{e}", activation=activation) for e in range(experts)],
            top_k=top_k,
            gate=gate,
        )

    def __call__(self, x: NDArray[np.int16], y: NDArray[np.int16], task: str) -> dict[str, Any]:
        """All tensors of the layer for residual x int16 [B, N, D] and its LayerNorm y -255..255 [B, N, D].

        Returns logits int32 [B, N, experts], experts and weights int32 [B, N, top_k], mlp (the new residual) int16
        [B, N, D]; per expert e, lists over the batch: `expert.e.tokens` int32 [rows], ascending, and
        `expert.e.hidden` -255..255 [rows, hidden].
        """
        logits = sat24(self.gates[task](y))
        winners, weights = route(logits, self.top_k, self.gate)
        out: dict[str, Any] = {"logits": logits, "experts": winners, "weights": weights, "mlp": x.copy()}
        for e, expert in enumerate(self.experts):
            # At most one of a token's winners is e, so every token is here once.
            image, token, slot = np.nonzero(winners == e)
            hidden = expert.hidden(y[image, token])
            update = sat16(expert.fc2(hidden, weights[image, token, slot][:, None]))
            out["mlp"][image, token] = add16(out["mlp"][image, token], update)
            ends = np.searchsorted(image, np.arange(1, len(x)))
            out[f"expert.{e}.tokens"] = np.split(token.astype(np.int32), ends)
            out[f"expert.{e}.hidden"] = np.split(hidden, ends)
        return out
