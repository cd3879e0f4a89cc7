"""A program whose residual stream is in DRAM, block by block of its rows.

Per layer all heads are attended to first, from norms and to a context that are on chip as a whole. The rest is done row
by row, so a block comes from DRAM, gets the projection, a norm, the MLP and the next layer's norm, and goes back. Two
blocks are on chip: while one is worked on, the other one goes and the next comes, and its last norm is left to run
beside the next block's projection.

Tested by tests/compiler/test_spill.py.
"""

from __future__ import annotations

from collections.abc import Callable

from hwgen.compiler import units
from hwgen.compiler.areas import Area, Span
from hwgen.compiler.attention import attention_heads
from hwgen.compiler.blocks import spans, spill_unit
from hwgen.compiler.builder import Builder
from hwgen.compiler.embed import image_pieces, position_table
from hwgen.compiler.heads import chosen, mean
from hwgen.compiler.mlp import halves
from hwgen.compiler.residual import update
from hwgen.compiler.ring import Matrix
from hwgen.compiler.schedule import Stage, pipeline
from hwgen.machine.isa import Dest

__all__ = ["spilled_program"]

Work = Callable[[], None]


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
        b, layers = self.b, self.b.model.layers
        self._embed()
        for index, layer in enumerate(layers):
            proj = attention_heads(b, index, layer.mlp.activation)
            first, second = halves(b, index, layer.mlp)

            def front(index: int = index, proj: Matrix = proj, first: Work = first) -> None:
                update(b, index, 1, proj, self.layout.context)
                first()

            self._each(self._fetch, front, second, norm=index + 1 < len(layers))
        self._head()

    def _each(self, fetch: Callable[[int], None], front: Work, back: Work, *, norm: bool) -> None:
        """All blocks: `fetch`, then `front`, `back` and, with `norm`, the norm of what comes behind."""
        b, chain, last = self.b, self.b.next_norm, len(self.blocks) - 1
        fetch(0)
        fetch(1)
        for number, rows in enumerate(self.blocks):
            b.enter(rows, self._slot(number), chain, last=number == last)
            front()
            if 1 <= number:
                self._store(number - 1)
            if 1 <= number < last:
                fetch(number + 1)
            back()
            if norm:
                b.norm_later()
        pipeline(*b.before)
        b.before = []
        self._store(last)
        b.leave()

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
        """Position table and patches, block by block, the embedding, and the first norm."""
        b, layout, prefix = self.b, self.layout, self.b.model.prefix
        matrix, area, table = b.matrix("embed"), layout.patches(0), position_table(b)
        pieces = list(image_pieces(b).items())

        def fetch(number: int) -> None:
            rows = self.blocks[number]
            b.emit(units.load_x(layout, "position", self._slot(number), rows,
                                offset=table.offset + rows[0] * layout.stream_bytes,
                                bytes=(rows[1] - rows[0]) * layout.stream_bytes))  # fmt: skip
            while pieces and pieces[0][0][0] < rows[1]:
                (begin, end), lines = pieces.pop(0)
                b.emit(units.patches(layout, 0, lines))
                b.probe("patches", area, (max(begin, prefix), end), range(b.model.patch_size))

        def multiply(begin: int, end: int, last: bool) -> None:
            if end > prefix:
                b.matmul(matrix, "embed", area, Dest.X_ADD, b.x, (max(begin, prefix), end), last=last)
            b.probe("embed", b.x, (begin, end), b.dim)

        def front() -> None:
            pipeline(*b.before, Stage([b.all], multiply))
            b.before = []

        self._each(fetch, front, lambda: None, norm=True)

    def _head(self) -> None:
        """The chosen rows, densely, to the output region."""
        b, layout, task, tokens = self.b, self.layout, self.b.task, chosen(self.b)
        name, words, chain = f"{task.name}.output", layout.dim_words, b.next_norm
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
            b.enter(rows, layout.slot(number, rows[0], layout.dim_words), chain, last=number + 1 == len(parts))
            wanted = tokens[dense[0] : dense[1]]
            if task.head in ("mean", "mean_norm"):
                b.norm(tensor=f"{task.name}." + ("norm" if task.head == "mean" else "rescale"), tokens=wanted,
                       first=dense[0])  # fmt: skip
                continue
            self._rows(number, wanted, words, dense)
        if task.head in ("mean", "mean_norm"):
            b.enter((0, 1), Area("X", 0, layout.dim_words), b.next_norm, last=True)
            mean(b, tokens)
            b.emit(units.store(layout, name, Area("X", 0, words), (0, 1), words))
            b.probe(name, Area("X", 0, words), (0, 1), range(task.outputs or 0))
        b.leave()

    def _rows(self, number: int, tokens: range, words: int, dense: Span) -> None:
        """Those of a head that has one per token, to their place in the output."""
        b, layout, task = self.b, self.layout, self.b.task
        name, rows, area, channels = f"{task.name}.output", (0, len(tokens)), layout.norm, b.dim
        norm = f"{task.name}.norm"
        if task.outputs is not None:
            area, channels = layout.slot(number, 0, words), range(task.outputs)
            matrix = b.matrix(f"tasks.{task.name}.head")

            def linear(begin: int, end: int, last: bool) -> None:
                b.matmul(matrix, name, layout.norm, Dest.X, area, (begin, end), last=last)

            b.norm(matrix, linear, tensor=norm, tokens=tokens, whole=words > layout.dim_words)
        elif task.norm:
            b.norm(tensor=norm, tokens=tokens)
        else:
            area, rows = b.x, (tokens[0], tokens[-1] + 1)
        offset = dense[0] * words * 2 * b.p.c
        b.emit(units.store(layout, name, area, rows, words, offset))
        b.probe(name, area, rows, channels, tensor_row=dense[0])
