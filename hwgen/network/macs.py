"""How many multiply-accumulates an image costs.

Counted are the products of weights and of attention (scores and PV) that the mathematics needs: every token of the
residual stream, attention over all tokens, `top_k` experts per token, and the head's rows (`every_token`: the patches;
all others: one; attention pooling: one query). One multiply and one add is one MAC. Norms, means, softmax, GELU and
requantization count nothing.

Tested by tests/compiler/test_program.py.
"""

from __future__ import annotations

from hwgen.network.description import Description, MoeMlp, Task

__all__ = ["attention_macs", "macs", "macs_by_part"]


def macs(desc: Description, task: str) -> int:
    """Useful multiply-accumulates of one image."""
    return sum(macs_by_part(desc, task).values())


def macs_by_part(desc: Description, task: str) -> dict[str, int]:
    """The same by part of the network, in the order of the computation: `embed`, `layers.I.attention`, `layers.I.mlp`
    and `head`."""
    model = desc.model
    n, dim = model.tokens, model.dim
    parts = {"embed": model.patches * model.patch_size * dim}
    for index, layer in enumerate(model.layers):
        parts[f"layers.{index}.attention"] = attention_macs(desc)
        if isinstance(layer.mlp, MoeMlp):
            parts[f"layers.{index}.mlp"] = n * dim * (layer.mlp.experts + 2 * layer.mlp.top_k * layer.mlp.hidden)
        else:
            parts[f"layers.{index}.mlp"] = n * dim * (3 if layer.mlp.gated else 2) * layer.mlp.hidden
    chosen, parts["head"] = _task(desc, task), 0
    if chosen.mlp is not None:
        attn, keys = model.attn_dim, model.patches
        parts["head"] += 2 * keys * dim * attn + 2 * keys * attn + attn * dim + 2 * dim * chosen.mlp.hidden
    if chosen.outputs is not None:
        parts["head"] += model.output_shape(chosen)[0] * chosen.outputs * dim
    return parts


def attention_macs(desc: Description) -> int:
    """Useful multiply-accumulates of one layer's attention: q, k, v, scores, PV, projection."""
    model = desc.model
    n, attn = model.tokens, model.attn_dim
    return 4 * n * model.dim * attn + 2 * n * n * attn


def _task(desc: Description, name: str) -> Task:
    return next(task for task in desc.model.tasks if task.name == name)
