"""The MLP of a layer: of all tokens, or as a mixture of experts. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hwgen.compiler import units
from hwgen.compiler.areas import Area, Span
from hwgen.compiler.blocks import spans
from hwgen.compiler.builder import Builder
from hwgen.compiler.layout import div_up
from hwgen.compiler.residual import behind, product, update
from hwgen.machine.isa import Dest
from hwgen.network.description import DenseMlp, MoeMlp

__all__ = ["dense", "experts", "halves"]

#: Cycles the router takes for a token: experts and these, or winners and these, whichever is more.
PER_EXPERT, PER_WINNER = 6, 18


def dense(b: Builder, layer: int, mlp: DenseMlp) -> None:
    """fc1, activation, fc2 of all tokens, or block by block; the last addition is left for the next norm."""
    hidden, rows = b.layout.hidden(layer), b.layout.blocks.rows
    first = _First(b, layer, mlp, hidden, b.all)
    fc2 = first.windows.second(b, f"layers.{layer}.mlp.fc2")
    if rows >= b.layout.rows:
        b.norm(first.fc1, first, beside=first.up)
        update(b, layer, 2, fc2, hidden)
        return
    b.norm()
    keeps = b.ring.holds(*first.up, first.fc1, fc2) and not first.windows.channels
    for begin, end in spans(b.layout.rows, rows):
        hidden, last = b.layout.hidden(layer, begin), not keeps or end == b.layout.rows
        _First(b, layer, mlp, hidden, (begin, end))(begin, end, last)
        product(b, layer, 2, fc2, hidden)(begin, end, last)
    behind(b, layer, 2)


def halves(
    b: Builder, layer: int, mlp: DenseMlp | MoeMlp
) -> tuple[Callable[[], None], Callable[[Callable[[], None]], None]]:
    """Of the rows that work is on: the norm with what follows it at once; the rest, given what is to be emitted when
    the engine has something to do."""
    if isinstance(mlp, MoeMlp):
        return partial(_route, b, f"layers.{layer}", mlp), partial(_all_experts, b, layer, mlp, b.all)

    parts = [(b.all[0] + begin, b.all[0] + end) for begin, end in spans(b.all[1] - b.all[0], b.layout.blocks.rows)]
    fc2 = b.layout.windows(layer).second(b, f"layers.{layer}.mlp.fc2")

    def first() -> None:
        work = _First(b, layer, mlp, b.layout.hidden(layer, b.all[0]), parts[0])
        if len(parts) == 1:
            b.norm(work.fc1, work, beside=work.up)
        else:
            b.norm()
            work(*parts[0], True)

    def second(beside: Callable[[], None]) -> None:
        for rows in parts:
            hidden = b.layout.hidden(layer, rows[0])
            if rows != parts[0]:
                _First(b, layer, mlp, hidden, rows)(*rows, True)
            product(b, layer, 2, fc2, hidden)(*rows, True)
            if rows == parts[0]:
                beside()

    return first, second


class _First:
    """Emits what a block of rows needs in front of fc2: fc1 with the activation, what gates it before. Behind the last
    block of `rows` come the further windows of all of them: they are few channels."""

    def __init__(self, b: Builder, layer: int, mlp: DenseMlp, hidden: Area, rows: Span) -> None:
        self.b, self.mlp, self.hidden, self.rows = b, mlp, hidden, rows
        self.name, self.windows = f"layers.{layer}", b.layout.windows(layer)
        self.fc1 = b.matrix(f"{self.name}.mlp.fc1")
        self.up = [b.matrix(f"{self.name}.mlp.up")] * mlp.gated

    def __call__(self, begin: int, end: int, last: bool) -> None:
        b, name, hidden, rows, norm = self.b, self.name, self.hidden, (begin, end), self.b.y
        for matrix in self.up:
            b.matmul(matrix, f"{name}.up", norm, Dest.H, hidden, rows, last=last)
            b.probe(f"{name}.up", hidden, rows, range(self.mlp.hidden))
        b.matmul(self.fc1, f"{name}.hidden", norm, Dest.H, hidden, rows, last=last,
                 fields=b.activation(f"{name}.mlp") | {"gated": self.mlp.gated})
        b.probe(f"{name}.hidden", hidden, rows, range(self.mlp.hidden))
        if end == self.rows[1]:
            self._continued()

    def _continued(self) -> None:
        b, name, column = self.b, self.name, self.mlp.hidden
        pairs = zip(self.windows.channels, self.windows.positions[1:], strict=True)
        for number, (group, positions) in enumerate(pairs, 1):
            b.matmul(b.matrix(f"{name}.mlp.fc1", window=group), f"{name}.hidden window {number}", b.y, Dest.H,
                     self.hidden, self.rows, words=(0, positions[0] // b.p.c),
                     fields=b.activation(f"{name}.mlp", number))  # fmt: skip
            b.probe(f"{name}.hidden", self.hidden, self.rows, positions, column=column)
            column += len(group)


def experts(b: Builder, layer: int, mlp: MoeMlp) -> None:
    """Gate, routing, then expert by expert the rows of its queue, while those of the next one are gathered."""
    name, layout, p = f"layers.{layer}", b.layout, b.p
    _route(b, name, mlp)
    for rows in spans(layout.rows, layout.blocks.tokens):
        if layout.blocks.tokens < layout.rows:
            _router(b, name, mlp, rows, rows)
        _all_experts(b, layer, mlp, rows)
    # With few rows per expert its weights are used faster than they come, and none are there for what follows.
    pace = div_up(8 * p.ring_bytes, p.weight_bus)
    if div_up(layout.rows * mlp.top_k, mlp.experts * p.t) < pace:
        b.first_tiles = pace


def _all_experts(
    b: Builder, layer: int, mlp: MoeMlp, rows: Span, beside: Callable[[], None] = lambda: None
) -> None:  # fmt: skip
    """One after another, of what was routed of these rows. `beside`: emitted behind the first."""
    _gather(b, f"layers.{layer}", 0)
    for expert in range(mlp.experts):
        if expert + 1 < mlp.experts:
            _gather(b, f"layers.{layer}", expert + 1)
        _expert(b, layer, mlp, expert, rows)
        if expert == 0:
            beside()
    b.probe(f"layers.{layer}.mlp", b.x, rows, b.dim)


def _route(b: Builder, name: str, mlp: MoeMlp) -> None:
    logits, gate = b.layout.logits, b.matrix(f"{name}.moe.gate.{b.task.name}")

    def multiply(begin: int, end: int, last: bool) -> None:
        b.matmul(gate, f"{name}.logits", b.y, Dest.LOGITS, logits, (begin, end), last=last)
        b.probe(f"{name}.logits", logits, (begin, end), range(mlp.experts))

    def route(begin: int, end: int, last: bool) -> None:
        _router(b, name, mlp, (begin, end), b.all)

    if b.layout.blocks.tokens < b.all[1] - b.all[0]:  # in turns with the experts
        b.norm(gate, multiply)
        return
    b.norm(gate, multiply, behind=route, behind_cycles=b.p.t * max(mlp.experts + PER_EXPERT, mlp.top_k + PER_WINNER))


def _router(b: Builder, name: str, mlp: MoeMlp, rows: Span, block: Span) -> None:
    """Routes some rows of a block of tokens."""
    b.emit(units.route(b.layout, f"{name}.experts", rows, mlp.experts, append=rows[0] > block[0], k_steps=mlp.top_k,
                       renormalize=mlp.gate == "topk_softmax"))
    for expert in range(mlp.experts if rows[1] == block[1] else 0):
        b.probe(f"{name}.expert.{expert}.tokens", units.QUEUES.area, None, (), expert=expert, tokens=block)


def _gather(b: Builder, name: str, expert: int) -> None:
    b.emit(units.gather(b.layout, f"{name}.norm2 rows of expert {expert}", b.y, expert, b.all))


def _expert(b: Builder, layer: int, mlp: MoeMlp, expert: int, tokens: Span) -> None:
    weights, tensor = f"layers.{layer}.moe.experts.{expert}", f"layers.{layer}.expert.{expert}.hidden"
    fc1, fc2 = (b.matrix(f"{weights}.{part}") for part in ("fc1", "fc2"))
    gathered, hidden = b.layout.gathered(expert), b.layout.hidden(layer)
    b.matmul(fc1, tensor, gathered, Dest.H, hidden, expert=expert, fields=b.activation(weights))
    b.probe(tensor, hidden, None, range(mlp.hidden), expert=expert, tokens=tokens)
    b.matmul(fc2, f"{weights} into mlp", hidden, Dest.X_ADD, b.x, expert=expert, fields={"scatter": 1})
