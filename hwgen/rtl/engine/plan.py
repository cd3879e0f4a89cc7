"""Planner: instructions of the engine → passes, ahead of the issuer, so that no step waits for a loop to begin.

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.machine.isa import NO_WAIT, Op, Source
from hwgen.machine.params import HwParams
from hwgen.rtl.common.context import CONTEXT_BITS, CONTEXTS, ContextTable
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields
from hwgen.rtl.common.ram import select_bits

__all__ = ["START", "Pass", "Planner", "pass_layout"]

#: How the engine is given an instruction.
START = {"start": In(1), "instruction": In(INSTRUCTION_BITS), "rows": In(16), "fetched": In(1), "number": In(16)}


class Pass(enum.Enum, shape=unsigned(2)):
    """What the steps of a pass, and the array tiles they make, belong to."""

    MATMUL = 0  # the row tiles of one output tile
    SCORE = 1  # one query tile with all keys
    CONTEXT = 2  # one query tile's probabilities with all values


def pass_layout(p: HwParams, settle: int) -> data.StructLayout:
    """`tiles` array tiles of `steps` steps, and where their operands lie."""
    level = ceil_log2(p.weight_depth + 1)
    return data.StructLayout(
        {
            "kind": Pass,
            "steps": 16,
            "tiles": 16,
            "free": 1,  # need not wait for the steps before; else its first step comes ...
            "wait": bits_for(settle),  # ... so many cycles after the last one
            "begins": 1,  # first and ...
            "ends": 1,  # ... last of its instruction
            "context": CONTEXT_BITS,  # of the instruction
            "number": 16,
            "from_h": 1,
            "a_unsigned": 1,
            "a_row": 16,  # rows of Y or H, and on with each tile
            "a_stride": 16,
            "k_row": 16,  # keys, and on with each tile
            "k_stride": 16,
            "v_word": 16,  # values, on with each step, one word further with each tile
            "v_stride": 16,
            "ring": level,  # MATMUL: its words in the weight ring
            "pop": level,  # words to pop with the last step
            "row_tile": p.row_bits,  # of the first array tile
            "word": 16,  # MATMUL, CONTEXT: destination C-word of the first array tile
            "half": 1,  # of the score buffer
            "key_begin": select_bits(p.word),  # CONTEXT: keys from here ...
            "keys": 16,  # ... to before here count
        }
    )


class Planner(wiring.Component):
    """A MATMUL is a pass per output tile, an ATTENTION two per query tile.

    `start` takes an instruction as `Issuer` does. `pass_valid` offers `pass_data`, taken with `pass_ready`. Passes with
    weights that come through the ring are offered when all words of the tile are there.

    The context of a query tile comes after the scores of the next one, so that softmax has time. So does the last one
    of an instruction, if the next instruction is an ATTENTION with `slack` NO_WAIT that is already there. The halves of
    the score buffer take turns, instructions do not matter.

    Without rows a MATMUL only takes its weights out of the ring (`discard` pops `tile_words`; `discarded`: what they
    took in DRAM, in halves of a ring word), when the issuer is `quiet`; `skip_begin` and `skip_end` mark its time.
    `starving`: nothing is offered because weights are not there.
    """

    def __init__(self, p: HwParams, *, settle: int) -> None:
        self.p, self.settle = p, settle
        self.level = level = ceil_log2(p.weight_depth + 1)
        super().__init__(
            START
            | {
                "pass_valid": Out(1),
                "pass_ready": In(1),
                "pass_data": Out(pass_layout(p, settle)),
                "ring_written": In(1),
                "quiet": In(1),
                "discard": Out(1),
                "tile_words": Out(level),
                "discarded": Out(level + 1),
                "skip_begin": Out(1),
                "skip_end": Out(1),
                "skip_number": Out(16),
                "starving": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._instructions(m)
        self._ring(m)
        self._passes(m)
        return m

    def _instructions(self, m: Module) -> None:
        """The instructions taken: their fields in a table, `f` of the one at work."""
        m.submodules.table = table = ContextTable(
            ("op", "source", "a_unsigned", "keep", "narrow", "a_base", "a_stride", "row_begin", "k_steps", "tiles",
             "d_word", "ring_offset", "slack", "k_base", "k_stride", "v_base", "v_stride", "key_tiles", "pv_steps"),
            rows=16, fetched=1, first_use=1, number=16,
        )  # fmt: skip
        self.f = f = Signal(table.layout)
        following = Signal(CONTEXT_BITS)
        self.waiting = waiting = Signal(range(CONTEXTS + 1))
        self.current, self.planned, self.loaded = Signal(CONTEXT_BITS), Signal(), Signal()
        m.d.comb += [
            table.w_en.eq(self.start),
            table.w_context.eq(following),
            table.instruction.eq(self.instruction),
            table.rows.eq(self.rows),
            table.fetched.eq(self.fetched),
            table.first_use.eq(Fields(self.instruction).bytes != 0),
            table.number.eq(self.number),
            table.r_context.eq(self.current),
        ]
        m.d.sync += [
            # The table's read has a register: what depends on the fields is long enough without it.
            f.eq(table.read),
            self.loaded.eq((waiting != 0) & ~self.planned),
            following.eq(following + self.start),
            self.current.eq(self.current + self.planned),
            waiting.eq(waiting + self.start - self.planned),
        ]

    def _ring(self, m: Module) -> None:
        """`there`: all words of the next tile are in the ring. Tiles are first read in the order in which they came."""
        f, unread = self.f, Signal(self.level)
        tile_halves = Signal(self.level + 1)  # what they take in DRAM, in halves of a word
        odd = f.k_steps[0] if self.p.piece_bytes == self.p.ring_bytes else 0  # packed by pairs of words: half a pair
        self.take, self.there, taken = Signal(), Signal(), Signal()
        m.d.sync += [
            self.tile_words.eq(self.p.param_words + f.k_steps),
            tile_halves.eq(2 * self.p.param_words + Mux(f.narrow, f.k_steps + odd, 2 * f.k_steps)),
            taken.eq(self.take),  # that late because the decision is
            unread.eq(unread + self.ring_written - Mux(taken, self.tile_words, 0)),
            self.there.eq((unread >= self.tile_words) & ~self.take & ~taken),
        ]
        m.d.comb += self.discarded.eq(Mux(self.discard, tile_halves, 0))

    def _passes(self, m: Module) -> None:
        p, f, settle = self.p, self.f, self.settle
        log_t, log_w = ceil_log2(p.t), ceil_log2(p.word)
        empty, first, half = Signal(), Signal(), Signal()
        needed, free = Signal(bits_for(settle)), Signal()
        tile_first, tile_count, query = Signal(p.row_bits), Signal(p.row_bits), Signal(p.row_bits)
        key_begin, keys = Signal(select_bits(p.word)), Signal(16)
        query_row, out_tile, ring = Signal(16), Signal(16), Signal(self.level)
        last_tile, last_query = Signal(), Signal()
        # Known in time: between two passes of an instruction the offer is empty for a cycle at least.
        m.d.sync += [last_tile.eq(out_tile + 1 == f.tiles), last_query.eq(query + 1 == tile_count)]

        # The context whose scores were planned last.
        held, holding = Signal(self.pass_data.shape()), Signal()
        scores, context, product = (Signal.like(held, name=name) for name in ("scores", "context", "product"))
        for plan in (scores, context, product):
            m.d.comb += [plan.context.eq(self.current), plan.number.eq(f.number)]
        for plan in (scores, context):
            m.d.comb += plan.row_tile.eq(tile_first + query)
        for plan in (scores, product):
            m.d.comb += [plan.begins.eq(first), plan.free.eq(free | ~first), plan.wait.eq(needed)]
        m.d.comb += [
            product.kind.eq(Pass.MATMUL),
            product.steps.eq(f.k_steps),
            product.tiles.eq(tile_count),
            product.ends.eq(last_tile),
            product.from_h.eq(f.source == Source.H),
            product.a_unsigned.eq(f.a_unsigned),
            product.a_row.eq(f.a_base),
            product.a_stride.eq(f.a_stride),
            product.ring.eq(ring),
            product.pop.eq(Mux(f.keep, 0, self.tile_words)),
            product.row_tile.eq(tile_first),
            product.word.eq(f.d_word + out_tile),
            scores.kind.eq(Pass.SCORE),
            scores.steps.eq(f.k_steps),
            scores.tiles.eq(f.key_tiles),
            scores.from_h.eq(1),
            scores.a_row.eq(query_row),
            scores.k_row.eq(f.k_base),
            scores.k_stride.eq(f.k_stride),
            scores.half.eq(half),
            context.kind.eq(Pass.CONTEXT),
            context.steps.eq(f.pv_steps),
            context.tiles.eq(f.tiles),
            context.free.eq(1),
            context.ends.eq(last_query),
            context.v_word.eq(f.v_base),
            context.v_stride.eq(f.v_stride),
            context.word.eq(f.d_word),
            context.half.eq(half),
            context.key_begin.eq(key_begin),
            context.keys.eq(keys),
        ]

        joins = (f.op == Op.ATTENTION) & (f.slack == NO_WAIT)
        done = Signal()  # with the last pass, or discard
        attention, new = Signal(), Signal()  # `new`: the offer is not the context held
        m.d.sync += attention.eq(f.op == Op.ATTENTION)
        m.d.comb += [
            self.pass_data.eq(Mux(new, Mux(attention, scores.as_value(), product.as_value()), held.as_value())),
            self.planned.eq(done),
            self.skip_number.eq(f.number),
        ]
        with m.If(done):
            m.d.sync += new.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    needed.eq(settle - f.slack),
                    free.eq(f.slack >= settle),
                    tile_first.eq(f.row_begin >> log_t),
                    tile_count.eq(((f.rows + (p.t - 1)) >> log_t) - (f.row_begin >> log_t)),
                    key_begin.eq(f.row_begin[:log_w]),
                    keys.eq(f.rows - (f.row_begin >> log_w << log_w)),
                    empty.eq(f.rows == 0),
                    first.eq(1),
                    out_tile.eq(0),
                    query.eq(0),
                    query_row.eq(f.a_base),
                    ring.eq(f.ring_offset),
                ]
                with m.If(self.loaded & (joins | ~holding)):
                    m.next = "BEGIN"
                with m.Elif(self.loaded | ~self.waiting.any()):
                    m.d.comb += self.pass_valid.eq(holding)
                    with m.If(self.pass_ready):
                        m.d.sync += holding.eq(0)
            with m.State("BEGIN"):
                m.d.sync += new.eq(1)
                m.next = "TILE"
                with m.If(empty):
                    m.next = "EMPTY"
                with m.Elif(attention):
                    m.next = "SCORE"
            with m.State("TILE"):
                weights = self.there | ~f.first_use
                m.d.comb += [
                    self.pass_valid.eq(weights),
                    self.starving.eq(~weights),
                    self.take.eq(weights & f.first_use & self.pass_ready),
                ]
                with m.If(weights & self.pass_ready):
                    m.d.sync += [first.eq(0), out_tile.eq(out_tile + 1)]
                    with m.If(f.keep):
                        m.d.sync += ring.eq(ring + self.tile_words)
                    with m.If(last_tile):
                        m.d.comb += done.eq(1)
                        m.next = "IDLE"
            with m.State("SCORE"):
                m.d.comb += self.pass_valid.eq(1)
                with m.If(self.pass_ready):
                    m.d.sync += [first.eq(0), new.eq(0)]
                    m.next = "CONTEXT"
            with m.State("CONTEXT"):
                m.d.comb += self.pass_valid.eq(holding)
                with m.If(self.pass_ready | ~holding):
                    m.d.sync += [held.eq(context), holding.eq(1), half.eq(~half)]
                    m.d.sync += [query.eq(query + 1), query_row.eq(query_row + f.a_stride)]
                    m.d.sync += new.eq(~last_query)
                    m.next = "SCORE"
                    with m.If(last_query):
                        m.d.comb += done.eq(1)
                        m.next = "IDLE"
            with m.State("EMPTY"), m.If(self.quiet):
                # The ring's base must not move under steps.
                m.d.comb += self.skip_begin.eq(1)
                m.next = "DISCARD"
            with m.State("DISCARD"):
                # An empty queue's weights, fetched before that was known, go tile by tile.
                m.d.comb += [
                    self.discard.eq(self.there & f.fetched),
                    self.take.eq(self.discard),
                    self.starving.eq(f.fetched & ~self.there),
                    self.skip_end.eq(~f.fetched | (self.discard & last_tile)),
                    done.eq(self.skip_end),
                ]
                with m.If(self.discard):
                    m.d.sync += out_tile.eq(out_tile + 1)
                with m.If(self.skip_end):
                    m.next = "IDLE"
