"""What the parts of a model share: weights and their place in the ring, norms and what happens beside them.

Tested by tests/compiler/test_program.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hwgen.compiler import engine, units
from hwgen.compiler.areas import Area, Span
from hwgen.compiler.blocks import spans
from hwgen.compiler.emit import Emitter
from hwgen.compiler.layout import Layout, div_up
from hwgen.compiler.packing import Block, Region, pack_norm
from hwgen.compiler.ring import Channels, Matrix, Ring
from hwgen.compiler.schedule import Emit, Stage, growing_blocks, in_two, pipeline, row_blocks
from hwgen.compiler.windows import WINDOW
from hwgen.machine.isa import BY_NAME, Dest
from hwgen.network.description import Task

__all__ = ["Builder"]

#: Cycles of a NORM beside those of its rows.
NORM_LATENCY = 50


class Builder(Emitter):
    """Emits one task's program.

    A part that ends in an addition to the residual stream leaves its last stages in `before`: they are emitted with the
    norm behind them and what uses it, block by block.
    """

    def __init__(self, layout: Layout, weights: Region, tables: Region, task: Task) -> None:
        super().__init__(layout.p)
        self.layout, self.weights, self.tables, self.task = layout, weights, tables, task
        self.desc, self.model = layout.desc, layout.desc.model
        self.ring = Ring(layout.p.weight_depth)
        self.dim = range(self.model.dim)
        self.leave()
        #: Of an image's tokens the one whose place attention pooling takes.
        self.patch = range(self.model.prefix, self.model.prefix + 1)
        self.before: list[Stage] = []
        self.kept: list[Matrix] = []  #: whose weights the stages before keep
        self.query_tiles = 0  #: of the attentions so far; they take turns in the halves of the score buffer
        self.first_tiles = 1  #: of the first block of a norm with nothing before it
        self.norms = ["norm_pre"] * self.model.norm_pre
        parts = ["norm1", *("attn.q_norm", "attn.k_norm") * self.model.qk_norm, "norm2"]
        if self.model.post_norm:
            parts = ["rescale1", *parts[1:-1], "norm1", "rescale2", "norm2"]
        self.norms += [f"layers.{index}.{part}" for index in range(len(self.model.layers)) for part in parts]
        if task.rescale:
            self.norms.append(f"tasks.{task.name}.rescale")
        if task.norm:
            self.norms.append(f"tasks.{task.name}.norm")
        if task.head == "map":
            self.norms += [f"tasks.{task.name}.map.{part}" for part in ("norm", "rescale")[: 1 + bool(task.outputs)]]
        self.next_norm = 0
        self._loaded = -1  #: the last norm whose parameters were
        self._activation = ""  #: whose table was loaded

    def enter(self, rows: Span, x: Area, y: Area, norm: int) -> None:
        """Work is on some rows of the residual stream, in X at `x`, their norms in `y`; the next one is number `norm`,
        again if it was that of other rows before."""
        self.all, self.x, self.y, self.next_norm = rows, x, y, norm

    def leave(self) -> None:
        """... on all rows."""
        self.all, self.x, self.y = (0, self.layout.rows), self.layout.x(self.layout.dim_words), self.layout.norm

    def value(self, name: str) -> int:
        """A tensor of one element."""
        return int(self.desc.tensors[name][0])

    def activation(self, mlp: str, window: int = 0) -> dict[str, int]:
        """Fields of fc1 of an MLP, for a window of its output."""
        mult, shift, zero = (self.value(f"{mlp}.activation.{part}") for part in ("mult", "shift", "zero"))
        zero = zero - window * WINDOW & (1 << BY_NAME["act_zero"].bits) - 1
        return {"activate": 1, "act_mult": mult, "act_shift": shift, "act_zero": zero}

    def load_activation(self, kind: str) -> None:
        """Its table, unless it is there."""
        if kind != self._activation:
            self._activation = kind
            block = self.tables.add(f"tables.{kind}", lambda: self.desc.tensors[f"tables.{kind}"].tobytes())
            self.emit(units.load_activation(kind, offset=block.offset, bytes=block.bytes))

    def adding(self, place: int) -> dict[str, int]:
        """Fields of the matmul of an addition to the residual stream, by its number behind the embedding."""
        before, after = self.model.stream_bits[place : place + 2]
        return {"x_shift": before - after}

    def matrix(self, weights: str, *, outputs: Channels | None = None, inputs: Channels | None = None,
               window: tuple[int, ...] | None = None, continued: tuple[int, ...] = ()) -> Matrix:  # fmt: skip
        return Matrix(self.desc, self.p, weights, outputs, inputs, window, continued)

    def matmul(
        self, matrix: Matrix, name: str, source: Area, dest: Dest, target: Area, rows: Span | None = None, *,
        last: bool = True, expert: int | None = None, words: Span = (0, 0), fields: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """`last`: no later block uses the matrix; else it stays in the ring, if the ring has room for it. `words`: the
        first C-words in the rows of `source` and of `target`."""
        last = last or not self.ring.holds(matrix)
        fetch, offset = self.ring.use(matrix, last)
        block = self.weights.add(matrix.key, matrix.pack) if fetch else Block(0, 0)
        self.emit(engine.matmul(
            self.layout, matrix, name, source, dest, target, rows, expert, words, self.all, keep=not last,
            ring_offset=offset, narrow=fetch and matrix.narrow, offset=block.offset, bytes=block.bytes,
            **(fields or {}),
        ))  # fmt: skip

    def adds(self, matrix: Matrix, emit: Emit) -> None:
        """A matmul of all rows into the residual stream, left for the norm that follows. Of a block of the stream one
        half is normalised while the other is multiplied, though weights that are not kept come twice."""
        keeps = self.ring.holds(matrix)
        (begin, end), t = self.all, self.p.t
        size = div_up(end - begin, 2 * t) * t if self.layout.blocks.stream else end - begin
        halves = [(begin + first, begin + last) for first, last in spans(end - begin, size)]
        self.before.append(Stage(self._row_blocks(self.all) if keeps else halves, emit))
        self.kept = [matrix] if keeps else []

    def norm(
        self, matrix: Matrix | None = None, use: Emit | None = None, *, behind: Emit | None = None,
        behind_cycles: int = 0, tensor: str = "", tokens: range | None = None, rows: int = 0,
        whole: bool = False, dense: bool = False, source: Area | None = None, beside: Sequence[Matrix] = (),
        first: int = 0,
    ) -> None:  # fmt: skip
        """The next norm, between what was left for it and its `use`, a matmul by `matrix`.

        source: of its rows, if not the residual stream.
        behind: what works on the results of `use`, in so many cycles per row tile. tensor: if not named as its weights.
        tokens: those wanted of each image, if not all; the norm's rows are dense, from `first` on.
        rows: the first of X, if not all.
        beside: other matrices of `use`. whole: `use` comes in one piece. dense: the tensor has these rows only.
        """
        span = (first, first + self.layout.batch * len(tokens)) if tokens else (0, rows) if rows else self.all
        earlier = self.before[-1].blocks if self.before else []
        keeps = matrix is not None and not whole and self.ring.holds(*self.kept, *beside, matrix)
        blocks = uses = [span]
        if len(earlier) > 1:
            blocks = self._row_blocks(span) if tokens else earlier
            uses = blocks if behind else in_two(blocks)
        elif matrix is not None and keeps:
            blocks = uses = growing_blocks(
                span, self.p.t, first=max(self.first_tiles, self._least), produce=self.p.t * self.layout.dim_words,
                consume=max(sum(one.tiles * one.k_steps for one in (*beside, matrix)), behind_cycles),
                latency=NORM_LATENCY,
            )  # fmt: skip
        stages = [*self.before, self._norm_stage(tensor, blocks, tokens, dense, source or self.x, first)]
        uses = uses if keeps else [span]
        if use and behind:
            used = Stage(uses, use, stages[-1], behind=0)
            stages += [Stage(uses, behind, used, behind=0), used]
        elif use:
            stages.append(Stage(uses, use, stages[-1]))
        pipeline(*stages)
        self.before, self.kept, self.first_tiles = [], [], 1

    @property
    def _least(self) -> int:
        """Row tiles of a block. Where a norm of one would take longer for its latency than for its rows, two."""
        return 1 if self.p.t * self.layout.dim_words >= NORM_LATENCY else 2

    def _row_blocks(self, rows: Span) -> list[Span]:
        return row_blocks(rows, self.p.t, self._least)

    def _norm_stage(
        self, tensor: str, blocks: list[Span], tokens: range | None, dense: bool, x: Area, origin: int = 0
    ) -> Stage:
        number, fields = self._take_norm()
        weights, count, y = self.norms[number], self.model.tokens, self.y
        tokens = tokens or range(self.layout.rows)  # all: images do not matter

        def x_row(row: int) -> int:
            row -= origin
            return row // len(tokens) * count + tokens[row % len(tokens)]

        def emit(begin: int, end: int, last: bool) -> None:
            self._load_norm(number)
            for image in range((begin - origin) // len(tokens), div_up(end - origin, len(tokens))):
                rows = (max(begin, origin + image * len(tokens)), min(end, origin + (image + 1) * len(tokens)))
                first = x_row(rows[0])
                self.emit(units.norm(self.layout, tensor or weights, x, y, rows, first, number % 2, **fields))
                self.probe(tensor or weights, y, rows, self.dim, tensor_row=rows[0] if dense else first)
            self._load_norm(number + 1)

        source = self.before[-1] if self.before else None
        return Stage(blocks, emit, source, source_rows=lambda end: x_row(end - 1) + 1)

    def _take_norm(self) -> tuple[int, dict[str, int]]:
        """The next norm's number, and how it is done."""
        number = self.next_norm
        self.next_norm += 1
        weights = self.norms[number]
        statistics = f"{weights}.eps" in self.desc.tensors
        eps = self.value(f"{weights}.eps") if statistics else 0
        return number, {
            "statistics": statistics, "rms": statistics and self.model.rms_norm,
            "norm_shift": self.value(f"{weights}.shift"), "eps_high": eps >> 32, "eps_low": eps & 0xFFFFFFFF,
        }  # fmt: skip

    def head_norms(self, target: Area) -> Iterator[None]:
        """The next norm, of what waits in `raw`: a step emits the next head's."""
        number, fields = self._take_norm()
        for head in range(self.model.heads):
            name = f"{self.norms[number]} head {head}"
            self.emit(units.head_norm(self.layout, name, target, head, number % 2, **fields))
            if head == 0:
                self._load_norm(number + 1)
            yield

    def _load_norm(self, number: int) -> None:
        """Parameters of a norm, ahead of it: the norm before it uses the other half of the table."""
        if self._loaded < number < len(self.norms):
            self._loaded = number
            name, tensors = self.norms[number], self.desc.tensors
            block = self.tables.add(name, lambda: pack_norm(self.p, tensors[f"{name}.gamma"], tensors[f"{name}.beta"]))
            self.emit(units.load_norm(self.layout, f"parameters of {name}", number % 2, offset=block.offset,
                                      bytes=block.bytes))
