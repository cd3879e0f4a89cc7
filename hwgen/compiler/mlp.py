"""The MLP of a layer: of all tokens, or as a mixture of experts. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from hwgen.compiler import units
from hwgen.compiler.builder import Builder
from hwgen.compiler.layout import div_up
from hwgen.compiler.residual import update
from hwgen.machine.isa import Dest
from hwgen.network.description import DenseMlp, MoeMlp

__all__ = ["dense", "experts"]

#: Cycles the router takes for a token: experts and these, or winners and these, whichever is more.
PER_EXPERT, PER_WINNER = 6, 18


def dense(b: Builder, layer: int, mlp: DenseMlp) -> None:
    """fc1, activation, fc2 of all tokens; fc2 is left for the next norm. What gates is there before the activation."""
    name, hidden, windows = f"layers.{layer}", b.layout.hidden(layer), b.layout.windows(layer)
    further = tuple(channel for group in windows.channels for channel in group)
    up = [b.matrix(f"{name}.mlp.up")] * mlp.gated
    fc1 = b.matrix(f"{name}.mlp.fc1")
    inputs = (windows.operands, windows.used) if further else None
    fc2 = b.matrix(f"{name}.mlp.fc2", inputs=inputs, continued=further)

    def first(begin: int, end: int, last: bool) -> None:
        for matrix in up:
            b.matmul(matrix, f"{name}.up", b.layout.norm, Dest.H, hidden, (begin, end), last=last)
            b.probe(f"{name}.up", hidden, (begin, end), range(mlp.hidden))
        b.matmul(fc1, f"{name}.hidden", b.layout.norm, Dest.H, hidden, (begin, end), last=last,
                 fields=b.activation(f"{name}.mlp") | {"gated": mlp.gated})
        b.probe(f"{name}.hidden", hidden, (begin, end), range(mlp.hidden))
        if last:
            continued()

    def continued() -> None:
        """Further windows, of all rows at once: they are few channels."""
        column = mlp.hidden
        for number, (group, positions) in enumerate(zip(windows.channels, windows.positions[1:], strict=True), 1):
            b.matmul(b.matrix(f"{name}.mlp.fc1", window=group), f"{name}.hidden window {number}", b.layout.norm, Dest.H,
                     hidden, b.all, words=(0, positions[0] // b.p.c), fields=b.activation(f"{name}.mlp", number))
            b.probe(f"{name}.hidden", hidden, b.all, positions, column=column)
            column += len(group)

    b.norm(fc1, first, beside=up)
    update(b, layer, 2, fc2, hidden)


def experts(b: Builder, layer: int, mlp: MoeMlp) -> None:
    """Gate, routing, then expert by expert the rows of its queue, while those of the next one are gathered."""
    name, layout, p = f"layers.{layer}", b.layout, b.p
    _route(b, name, mlp)
    _gather(b, name, 0)
    for expert in range(mlp.experts):
        if expert + 1 < mlp.experts:
            _gather(b, name, expert + 1)
        _expert(b, layer, mlp, expert)
    b.probe(f"{name}.mlp", b.x, b.all, b.dim)
    # With few rows per expert its weights are used faster than they come, and none are there for what follows.
    pace = div_up(8 * p.ring_bytes, p.weight_bus)
    if div_up(layout.rows * mlp.top_k, mlp.experts * p.t) < pace:
        b.first_tiles = pace


def _route(b: Builder, name: str, mlp: MoeMlp) -> None:
    logits, gate = b.layout.logits, b.matrix(f"{name}.moe.gate.{b.task.name}")

    def multiply(begin: int, end: int, last: bool) -> None:
        b.matmul(gate, f"{name}.logits", b.layout.norm, Dest.LOGITS, logits, (begin, end), last=last)
        b.probe(f"{name}.logits", logits, (begin, end), range(mlp.experts))

    def route(begin: int, end: int, last: bool) -> None:
        b.emit(units.route(b.layout, f"{name}.experts", (begin, end), mlp.experts, append=begin > 0, k_steps=mlp.top_k,
                           renormalize=mlp.gate == "topk_softmax"))
        for expert in range(mlp.experts if last else 0):
            b.probe(f"{name}.expert.{expert}.tokens", units.QUEUES.area, None, (), expert=expert)

    b.norm(gate, multiply, behind=route, behind_cycles=b.p.t * max(mlp.experts + PER_EXPERT, mlp.top_k + PER_WINNER))


def _gather(b: Builder, name: str, expert: int) -> None:
    b.emit(units.gather(b.layout, f"{name}.norm2 rows of expert {expert}", expert))


def _expert(b: Builder, layer: int, mlp: MoeMlp, expert: int) -> None:
    weights, tensor = f"layers.{layer}.moe.experts.{expert}", f"layers.{layer}.expert.{expert}.hidden"
    fc1, fc2 = (b.matrix(f"{weights}.{part}") for part in ("fc1", "fc2"))
    gathered, hidden = b.layout.gathered(expert), b.layout.hidden(layer)
    b.matmul(fc1, tensor, gathered, Dest.H, hidden, expert=expert, fields=b.activation(weights))
    b.probe(tensor, hidden, None, range(mlp.hidden), expert=expert)
    b.matmul(fc2, f"{weights} into mlp", hidden, Dest.X_ADD, b.x, expert=expert, fields={"scatter": 1})
