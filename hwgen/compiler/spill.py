"""A program whose residual stream is in DRAM, block by block of its rows.

A layer reads it twice. For each group of heads its blocks come one after another, pass the norm, and leave queries,
keys and values; then these heads are attended to. What follows is done row by row: a block comes, gets the projection
of its context, a norm and the MLP, and goes back. Two blocks are on chip, and their norms: while one is worked on the
next one comes. The context is on chip as a whole.

Tested by tests/compiler/test_spill.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwgen.compiler import units
from hwgen.compiler.areas import Area, Span
from hwgen.compiler.attention import Part, attend_group, projection
from hwgen.compiler.blocks import spans, spill_unit
from hwgen.compiler.builder import Builder
from hwgen.compiler.embed import position_table
from hwgen.compiler.heads import chosen, mean
from hwgen.compiler.mlp import halves
from hwgen.compiler.residual import update
from hwgen.compiler.stream import lines_of, norm_slot, patches_of, slot
from hwgen.machine.isa import Dest

__all__ = ["spilled_program"]


def spilled_program(b: Builder, place: int) -> None:
    """All instructions but END. place: of the residual stream, as an offset in the output region."""
    _Spilled(b, place).program()


@dataclass(frozen=True)
class Visit:
    """A block's stay on chip. `norm`: the number of its norm. `layer`: with `group`, queries, keys and values of these
    heads are made of its norm; else the rest of the layer. Without: the embedding, or with `dense` a head's rows."""

    rows: Span
    norm: int
    layer: int | None = None
    group: range | None = None
    dense: Span | None = None

    @property
    def name(self) -> str:
        """Of its LOAD and STORE."""
        if self.layer is None:
            return "stream" if self.dense else "embed stream"
        return f"layers.{self.layer}.{'attn' if self.group else 'mlp'}_stream"


class _Spilled:
    """Visits take turns in two places. All of a visit's instructions are emitted in its turn, but for its LOAD, its
    norm if nothing is added before, and its STORE: these run beside the work on the others."""

    def __init__(self, b: Builder, place: int) -> None:
        self.b, self.place, self.layout = b, place, b.layout
        assert b.layout.blocks.stream
        self.tokens, self.means = chosen(b), b.task.head in ("mean", "mean_norm")
        self.visits = list(self._plan(b.layout.blocks.stream))
        self.loaded = self.normed = 0  #: visits whose LOAD, whose norm there is
        self.waiting: int | None = None  #: the visit whose STORE there is not

    def _plan(self, size: int) -> Iterator[Visit]:
        """In blocks of so many rows."""
        b, blocks, norm = self.b, spans(self.layout.rows, size), 0
        yield from (Visit(rows, 0) for rows in blocks)
        for layer in range(len(b.model.layers)):
            for group in self.layout.blocks.heads_of(b.model.heads):
                yield from (Visit(rows, norm, layer, group) for rows in blocks)
            yield from (Visit(rows, norm + 1, layer) for rows in blocks)
            norm += 2
        unit = spill_unit(b.p)  # the rows that are loaded begin at a multiple of that
        for dense in spans(len(self.tokens), size - unit):
            rows = self.tokens[dense[0]] // unit * unit, self.tokens[dense[1] - 1] + 1
            yield Visit(rows, norm, dense=dense)

    def program(self) -> None:
        for number, visit in enumerate(self.visits):
            self._load(number)
            if visit.dense:
                self._head(number, visit)
            elif visit.group:
                self._project(number, visit)
            elif visit.layer is None:
                self._enter(number)
                self._embed()
                self._gone(number)
                self._load(number + 1)
            else:
                self._rest(number, visit)
        if self.means:
            self._mean()

    def _project(self, number: int, visit: Visit) -> None:
        """Queries, keys and values of some heads; behind those of the last block, the heads. The next norm is made
        beside, and as this one is there, the block behind the next may come."""
        b, rows = self.b, visit.rows
        assert visit.layer is not None and visit.group
        name = f"layers.{visit.layer}"
        self._norm(number)
        if self.waiting is None:
            self._load(number + 1)
            self._norm(number + 1)
            self._load(number + 2)
        else:
            self._gone(None)
            self._load(number + 1)
        self._enter(number)
        b.load_activation(b.model.layers[visit.layer].mlp.activation)
        parts = [Part(b, f"{name}.attn", name, part, visit.group) for part in "qkv"]
        keeps, last = b.ring.holds(*(part.matrix for part in parts)), rows[1] == self.layout.rows
        for part in parts:
            part(*rows, last or not keeps)
        if last:
            b.leave()
            attend_group(b, name, 0, visit.group)

    def _rest(self, number: int, visit: Visit) -> None:
        """What is done row by row. The block before goes, and the next one comes, beside the second half of the MLP."""
        b = self.b
        assert visit.layer is not None
        self._enter(number)
        first, second = halves(b, visit.layer, b.model.layers[visit.layer].mlp)
        update(b, visit.layer, 1, projection(b, visit.layer), self.layout.context)
        first()
        self._gone(number)
        second(lambda: self._load(number + 1))
        self._norm(number + 1)

    def _enter(self, number: int) -> None:
        visit, layout = self.visits[number], self.layout
        first = visit.rows[0]
        y = layout.norm if self.means and visit.dense else norm_slot(layout, number, 0 if visit.dense else first)
        self.b.enter(visit.rows, slot(layout, number, first, layout.dim_words), y, visit.norm)

    def _norm(self, number: int) -> None:
        """A visit's, unless it has it, or something is added before."""
        if self.normed <= number < len(self.visits) and self.visits[number].group:
            self.normed = number + 1
            self._enter(number)
            self.b.norm()

    def _load(self, number: int) -> None:
        """Whatever came to the other place before must have gone."""
        if not self.loaded <= number < len(self.visits):
            return
        self.loaded = number + 1
        b, rows, layout = self.b, self.visits[number].rows, self.layout
        embedding = self.visits[number].layer is None and not self.visits[number].dense
        place = position_table(b).offset if embedding else self.place
        b.emit(units.load_x(layout, "position" if embedding else self.visits[number].name,
                            slot(layout, number, rows[0], layout.dim_words), rows, spilled=not embedding,
                            offset=place + rows[0] * layout.stream_bytes,
                            bytes=(rows[1] - rows[0]) * layout.stream_bytes))  # fmt: skip

    def _gone(self, number: int | None) -> None:
        """What waits goes to DRAM; then this visit waits."""
        if self.waiting is not None:
            rows, layout = self.visits[self.waiting].rows, self.layout
            x = slot(layout, self.waiting, rows[0], layout.dim_words)
            self.b.emit(units.store(layout, self.visits[self.waiting].name, x, rows, layout.dim_words,
                                    self.place + rows[0] * layout.stream_bytes))  # fmt: skip
        self.waiting = number

    # The ends.

    def _embed(self) -> None:
        """The embedding of a block, of the lines of patches that it touches."""
        b, layout, prefix = self.b, self.layout, self.b.model.prefix
        rows = max(b.all[0], prefix), b.all[1]
        if rows[0] < rows[1]:
            lines = lines_of(layout, b.all)
            area, there = patches_of(layout, lines)
            b.emit(units.patches(layout, area, 0, lines, there[0] // b.p.t * b.p.t))
            b.probe("patches", area, there, range(b.model.patch_size))
            b.matmul(b.matrix("embed"), "embed", area, Dest.X_ADD, b.x, rows)
        b.probe("embed", b.x, b.all, b.dim)

    def _head(self, number: int, visit: Visit) -> None:
        """Some of the chosen rows, densely, to the output region or to where their mean is taken."""
        assert visit.dense
        self._gone(None)
        self._load(number + 1)
        self._enter(number)
        tokens = self.tokens[visit.dense[0] : visit.dense[1]]
        if self.means:
            tensor = f"{self.b.task.name}." + ("norm" if self.b.task.head == "mean" else "rescale")
            self.b.norm(tensor=tensor, tokens=tokens, first=visit.dense[0])
            return
        self._rows(number, tokens, visit.dense)

    def _mean(self) -> None:
        b, layout, task = self.b, self.layout, self.b.task
        assert task.outputs is not None
        name, words = f"{task.name}.output", layout.words(task.outputs)
        b.enter((0, 1), Area("X", 0, layout.dim_words), layout.norm, b.next_norm)
        mean(b, self.tokens)
        b.emit(units.store(layout, name, Area("X", 0, words), (0, 1), words))
        b.probe(name, Area("X", 0, words), (0, 1), range(task.outputs))

    def _rows(self, number: int, tokens: range, dense: Span) -> None:
        """Those of a head that has one per token, to their place in the output."""
        b, layout, task = self.b, self.layout, self.b.task
        name, norm, words = f"{task.name}.output", f"{task.name}.norm", layout.dim_words
        rows, area, channels = (0, len(tokens)), b.y, b.dim
        if task.outputs is not None:
            words, channels = layout.words(task.outputs), range(task.outputs)
            area, matrix = slot(layout, number, 0, words), b.matrix(f"tasks.{task.name}.head")

            def linear(begin: int, end: int, last: bool) -> None:
                b.matmul(matrix, name, b.y, Dest.X, area, (begin, end), last=last)

            b.norm(matrix, linear, tensor=norm, tokens=tokens, whole=words > layout.dim_words)
        elif task.norm:
            b.norm(tensor=norm, tokens=tokens)
        else:
            area, rows = b.x, (tokens[0], tokens[-1] + 1)
        b.emit(units.store(layout, name, area, rows, words, dense[0] * words * 2 * b.p.c))
        b.probe(name, area, rows, channels, tensor_row=dense[0])
