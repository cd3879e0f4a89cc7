"""How many multiply-accumulates an image costs: useful ones, and with the padding to whole array tiles.

Counted are the products of weights and of attention (scores and PV) that the mathematics needs: every token of the
residual stream, attention over all tokens, `top_k` experts per token, and the head's rows (`every_token`: the patches;
all others: one). One multiply and one add is one MAC. Norms, means, softmax, GELU and requantization count nothing.
"""

from __future__ import annotations

from hwgen.compiler.layout import div_up, output_shape
from hwgen.compiler.program import Instr
from hwgen.description import Description, MoeMlp, Task
from hwgen.isa import Op
from hwgen.params import HwParams

__all__ = ["attention_macs", "macs", "macs_padded"]


def macs(desc: Description, task: str) -> int:
    """Useful multiply-accumulates of one image."""
    model = desc.model
    n, dim = model.tokens, model.dim
    total = model.patches * model.patch_size * dim
    for layer in model.layers:
        total += attention_macs(desc)
        if isinstance(layer.mlp, MoeMlp):
            total += n * dim * (layer.mlp.experts + 2 * layer.mlp.top_k * layer.mlp.hidden)
        else:
            total += n * dim * 2 * layer.mlp.hidden
    chosen = _task(desc, task)
    if chosen.outputs is not None:
        total += output_shape(desc, chosen)[0] * chosen.outputs * dim
    return total


def attention_macs(desc: Description) -> int:
    """Useful multiply-accumulates of one layer's attention: q, k, v, scores, PV, projection."""
    model = desc.model
    n, attn = model.tokens, model.attn_dim
    return 4 * n * model.dim * attn + 2 * n * n * attn


def macs_padded(desc: Description, p: HwParams, instructions: tuple[Instr, ...]) -> int:
    """Multiply-accumulates the array performs for a task's program, padding included.

    Each instruction works on whole tiles: T rows, C columns, K lanes. Tokens are taken to spread evenly over the
    experts; a less even spread costs a little more or less, as partly filled row tiles come and go.
    """
    total, routed, queue = 0, 0, 0
    for instr in instructions:
        f = instr.fields
        if instr.op == Op.ROUTE:
            routed = routed * f.get("append", 0) + (f["row_end"] - f["row_begin"]) * f["k_steps"]
            queue = div_up(routed, f["tiles"])
        elif instr.op == Op.MATMUL:
            rows = (0, queue) if f.get("use_queue") else (f.get("row_begin", 0), f["row_end"])
            total += _row_tiles(rows, p) * f["tiles"] * f["k_steps"]
        elif instr.op == Op.ATTENTION:
            steps = f["key_tiles"] * f["k_steps"] + f["tiles"] * f["pv_steps"]
            total += _row_tiles((f.get("row_begin", 0), f["row_end"]), p) * steps
    return total * p.macs


def _row_tiles(rows: tuple[int, int], p: HwParams) -> int:
    return div_up(rows[1], p.t) - rows[0] // p.t


def _task(desc: Description, name: str) -> Task:
    return next(task for task in desc.model.tasks if task.name == name)
