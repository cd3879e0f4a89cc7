"""How many multiply-accumulates an image costs: useful ones, and with the padding to whole array tiles.

Counted are the products of weights and of attention (scores and PV) that the mathematics needs: every token of the
residual stream, attention over all tokens, `top_k` experts per token, and the head's rows (`every_token`: the patches;
`class_token` and `mean`: one). One multiply and one add is one MAC. Norms, softmax, GELU and requantization count
nothing.
"""

from __future__ import annotations

from hwgen.compiler.layout import Layout, div_up, output_shape
from hwgen.compiler.program import Instr
from hwgen.description import Description, MoeMlp, Task
from hwgen.isa import Op
from hwgen.params import HwParams

__all__ = ["macs", "macs_padded"]


def macs(desc: Description, task: str) -> int:
    """Useful multiply-accumulates of one image."""
    model = desc.model
    n, dim, attn = model.tokens, model.dim, model.attn_dim
    total = model.patches * model.patch_size * dim
    for layer in model.layers:
        total += 4 * n * dim * attn + 2 * n * n * attn
        if isinstance(layer.mlp, MoeMlp):
            total += n * dim * (layer.mlp.experts + 2 * layer.mlp.top_k * layer.mlp.hidden)
        else:
            total += n * dim * 2 * layer.mlp.hidden
    chosen = _task(desc, task)
    if chosen.outputs is not None:
        total += output_shape(desc, chosen)[0] * chosen.outputs * dim
    return total


def macs_padded(desc: Description, p: HwParams, instructions: tuple[Instr, ...]) -> int:
    """Multiply-accumulates the array performs for a task's program, padding included.

    Each instruction works on whole tiles: T rows, C columns, K lanes. Tokens are taken to spread evenly over the
    experts; a less even spread costs a little more or less, as partly filled row tiles come and go.
    """
    total, row_step = 0, p.t * p.c * p.k
    queue = 0
    for instr in instructions:
        f = instr.fields
        if instr.op == Op.ROUTE:
            queue = div_up((f["row_end"] - f["row_begin"]) * f["k_steps"], f["tiles"])
        elif instr.op == Op.MATMUL:
            begin, end = (0, queue) if f.get("use_queue") else (f["row_begin"], f["row_end"])
            total += (div_up(end, p.t) - begin // p.t) * f["tiles"] * f["k_steps"] * row_step
        elif instr.op == Op.ATTENTION:
            steps = f["key_tiles"] * f["k_steps"] + f["tiles"] * f["pv_steps"]
            total += Layout(desc, p).groups * steps * row_step
    return total


def _task(desc: Description, name: str) -> Task:
    return next(task for task in desc.model.tasks if task.name == name)
