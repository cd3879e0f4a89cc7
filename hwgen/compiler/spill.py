"""A program whose residual stream is in DRAM, block by block of its rows.

A layer reads it twice. For each group of heads its blocks come one after another, pass the norm, and leave queries,
keys and values; then these heads are attended to. What follows is done row by row: a block comes, gets the projection
of its context, a norm and the MLP, and goes back. Two blocks are on chip, and their norms: while one is worked on the
next one comes. The context is on chip as a whole.

Tested by tests/compiler/test_spill.py.
"""

from __future__ import annotations

from collections.abc import Callable

from hwgen.compiler import units
from hwgen.compiler.areas import Area, Span
from hwgen.compiler.attention import Part, attend_group, projection
from hwgen.compiler.blocks import spans, spill_unit
from hwgen.compiler.builder import Builder
from hwgen.compiler.embed import position_table
from hwgen.compiler.heads import chosen, mean
from hwgen.compiler.mlp import halves
from hwgen.compiler.residual import update
from hwgen.machine.isa import Dest
from hwgen.network.description import DenseMlp, MoeMlp

__all__ = ["spilled_program"]

#: Of a block, by its number.
Work = Callable[[int], None]


def spilled_program(b: Builder, place: int) -> None:
    """All instructions but END. place: of the residual stream, as an offset in the output region."""
    _Spilled(b, place).program()


class _Spilled:
    def __init__(self, b: Builder, place: int) -> None:
        self.b, self.place, self.layout = b, place, b.layout
        assert b.layout.blocks.stream
        self.size = b.layout.blocks.stream
        self.blocks = spans(b.layout.rows, self.size)

    def program(self) -> None:
        b = self.b
        self._embed()
        for index, layer in enumerate(b.model.layers):
            for group in self.layout.blocks.heads_of(b.model.heads):
                self._project(index, group)
                attend_group(b, f"layers.{index}", 0, group)
            b.next_norm += 1
            self._rest(index, layer.mlp)
        self._head()

    def _enter(self, number: int) -> None:
        first = self.blocks[number][0]
        self.b.enter(self.blocks[number], self._slot(number), self.layout.norm_slot(number, first), self.b.next_norm)

    def _project(self, layer: int, group: range) -> None:
        """Queries, keys and values of a group of heads. A block's norm is made while the one before is multiplied, and
        the next one comes."""
        b, name, norm, last = self.b, f"layers.{layer}", self.b.next_norm, len(self.blocks) - 1
        keeps = b.ring.holds(*(Part(b, f"{name}.attn", name, part, group).matrix for part in "qkv"))

        def normalise(number: int) -> None:
            self._enter(number)
            b.norm()
            b.next_norm = norm
            if number < last:
                self._fetch(number + 1)

        self._fetch(0)
        normalise(0)
        b.load_activation(b.model.layers[layer].mlp.activation)
        for number, rows in enumerate(self.blocks):
            if number < last:
                normalise(number + 1)
            self._enter(number)
            for part in "qkv":
                Part(b, f"{name}.attn", name, part, group)(*rows, not keeps or number == last)
        b.leave()

    def _rest(self, layer: int, mlp: DenseMlp | MoeMlp) -> None:
        """What is done row by row."""
        b = self.b
        proj = projection(b, layer)
        first, second = halves(b, layer, mlp)

        def front() -> None:
            update(b, layer, 1, proj, self.layout.context)
            first()

        self._each(self._fetch, front, second)

    def _each(self, fetch: Work, front: Callable[[], None], back: Callable[[], None]) -> None:
        """All blocks. One goes, and the next one comes in its place, between the two parts of the work on the other."""
        norm, last = self.b.next_norm, len(self.blocks) - 1
        fetch(0)
        fetch(1)
        for number in range(len(self.blocks)):
            self.b.next_norm = norm
            self._enter(number)
            front()
            if 1 <= number:
                self._store(number - 1)
            if 1 <= number < last:
                fetch(number + 1)
            back()
        self._store(last)
        self.b.leave()

    # The stream.

    def _slot(self, number: int) -> Area:
        return self.layout.slot(number, self.blocks[number][0], self.layout.dim_words)

    def _load(self, x: Area, rows: Span) -> None:
        count = rows[1] - rows[0]
        self.b.emit(units.load_x(self.layout, "residual stream", x, rows, spilled=1,
                                 offset=self.place + rows[0] * self.layout.stream_bytes,
                                 bytes=count * self.layout.stream_bytes))  # fmt: skip

    def _fetch(self, number: int) -> None:
        self._load(self._slot(number), self.blocks[number])

    def _store(self, number: int) -> None:
        rows = self.blocks[number]
        self.b.emit(units.store(self.layout, "residual stream", self._slot(number), rows, self.layout.dim_words,
                                self.place + rows[0] * self.layout.stream_bytes))  # fmt: skip

    # The ends.

    def _embed(self) -> None:
        """Position table and patches, block by block, and the embedding."""
        b, layout, prefix = self.b, self.layout, self.b.model.prefix
        matrix, table = b.matrix("embed"), position_table(b)

        def fetch(number: int) -> None:
            rows = self.blocks[number]
            b.emit(units.load_x(layout, "position", self._slot(number), rows,
                                offset=table.offset + rows[0] * layout.stream_bytes,
                                bytes=(rows[1] - rows[0]) * layout.stream_bytes))  # fmt: skip

        def multiply() -> None:
            rows = max(b.all[0], prefix), b.all[1]
            if rows[0] < rows[1]:
                lines = layout.lines_of(b.all)
                area, there = layout.patches_of(lines)
                b.emit(units.patches(layout, area, 0, lines, there[0] // b.p.t * b.p.t))
                b.probe("patches", area, there, range(b.model.patch_size))
                b.matmul(matrix, "embed", area, Dest.X_ADD, b.x, rows)
            b.probe("embed", b.x, b.all, b.dim)

        self._each(fetch, multiply, lambda: None)

    def _head(self) -> None:
        """The chosen rows, densely, to the output region."""
        b, layout, task, tokens = self.b, self.layout, self.b.task, chosen(self.b)
        name, words, norm = f"{task.name}.output", layout.dim_words, b.next_norm
        means = task.head in ("mean", "mean_norm")
        if task.outputs is not None:
            words = layout.words(task.outputs)
        size = self.size - spill_unit(b.p)  # the rows it loads begin at a multiple of that

        def come(number: int, dense: Span) -> Span:
            first = tokens[dense[0]] // spill_unit(b.p) * spill_unit(b.p)
            rows = first, tokens[dense[1] - 1] + 1
            self._load(layout.slot(number, first, layout.dim_words), rows)
            return rows

        parts = spans(len(tokens), size)
        loaded = come(0, parts[0])
        for number, dense in enumerate(parts):
            rows = loaded
            if number + 1 < len(parts):
                loaded = come(number + 1, parts[number + 1])
            y = layout.norm if means else layout.norm_slot(number, 0)
            b.enter(rows, layout.slot(number, rows[0], layout.dim_words), y, norm)
            wanted = tokens[dense[0] : dense[1]]
            if means:
                b.norm(tensor=f"{task.name}." + ("norm" if task.head == "mean" else "rescale"), tokens=wanted,
                       first=dense[0])  # fmt: skip
                continue
            self._rows(number, wanted, words, dense)
        if means:
            b.enter((0, 1), Area("X", 0, layout.dim_words), layout.norm, b.next_norm)
            mean(b, tokens)
            b.emit(units.store(layout, name, Area("X", 0, words), (0, 1), words))
            b.probe(name, Area("X", 0, words), (0, 1), range(task.outputs or 0))
        b.leave()

    def _rows(self, number: int, tokens: range, words: int, dense: Span) -> None:
        """Those of a head that has one per token, to their place in the output."""
        b, layout, task = self.b, self.layout, self.b.task
        name, rows, area, channels = f"{task.name}.output", (0, len(tokens)), b.y, b.dim
        norm = f"{task.name}.norm"
        if task.outputs is not None:
            area, channels = layout.slot(number, 0, words), range(task.outputs)
            matrix = b.matrix(f"tasks.{task.name}.head")

            def linear(begin: int, end: int, last: bool) -> None:
                b.matmul(matrix, name, b.y, Dest.X, area, (begin, end), last=last)

            b.norm(matrix, linear, tensor=norm, tokens=tokens, whole=words > layout.dim_words)
        elif task.norm:
            b.norm(tensor=norm, tokens=tokens)
        else:
            area, rows = b.x, (tokens[0], tokens[-1] + 1)
        offset = dense[0] * words * 2 * b.p.c
        b.emit(units.store(layout, name, area, rows, words, offset))
        b.probe(name, area, rows, channels, tensor_row=dense[0])
