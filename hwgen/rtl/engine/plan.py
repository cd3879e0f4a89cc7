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
from hwgen.rtl.common.context import CONTEXT_BITS
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.engine.loops import Loops
from hwgen.rtl.engine.queue import START, InstructionQueue
from hwgen.rtl.engine.tilewords import TileWords

__all__ = ["Pass", "Planner", "pass_layout"]


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
    of an instruction, if the next instruction is an ATTENTION with `slack` NO_WAIT that is already there.

    Without rows a MATMUL only takes its weights out of the ring (`discard` pops `tile_words`; `discarded`: what they
    took in DRAM, in halves of a ring word), when the issuer is `quiet`; `skip_begin` and `skip_end` mark its time.
    `starving`: nothing is offered because weights are not there.

    Here is the state machine that goes from pass to pass. `InstructionQueue` has the instruction, `Loops` knows how
    far it is, `TileWords` if its weights are there; a pass is put together from these.
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
        m.submodules.queue = queue = InstructionQueue()
        m.submodules.words = words = TileWords(self.p)
        m.submodules.loops = loops = Loops(self.p, settle=self.settle)
        self.queue, self.words, self.loops = queue, words, loops
        self.f, self.at = queue.fields, loops.at
        for name in START:
            m.d.comb += getattr(queue, name).eq(getattr(self, name))
        m.d.comb += [
            words.fields.eq(queue.fields),
            words.ring_written.eq(self.ring_written),
            loops.fields.eq(queue.fields),
            loops.tile_words.eq(words.tile_words),
            self.tile_words.eq(words.tile_words),
            self.discarded.eq(Mux(self.discard, words.tile_halves, 0)),
            self.skip_number.eq(queue.fields.number),
        ]
        self._offer(m)
        self._passes(m)
        return m

    def _offer(self, m: Module) -> None:
        """What is offered: the context whose scores were planned last (`held`), or, if `new`, a pass of the instruction
        as it is now."""
        self.held, self.context = Signal.like(self.pass_data), Signal.like(self.pass_data)
        self.new, self.attention = Signal(), Signal()
        scores, product = Signal.like(self.pass_data), Signal.like(self.pass_data)
        m.d.sync += self.attention.eq(self.f.op == Op.ATTENTION)
        for plan in (scores, self.context, product):
            m.d.comb += [plan.context.eq(self.queue.context), plan.number.eq(self.f.number)]
        for plan in (scores, product):
            m.d.comb += [plan.begins.eq(self.at.first), plan.free.eq(self.at.free | ~self.at.first)]
            m.d.comb += plan.wait.eq(self.at.needed)
        self._product(m, product)
        self._scores(m, scores)
        self._context(m, self.context)
        new = Mux(self.attention, scores.as_value(), product.as_value())
        m.d.comb += self.pass_data.eq(Mux(self.new, new, self.held.as_value()))

    def _product(self, m: Module, product: data.View) -> None:
        f, at = self.f, self.at
        m.d.comb += [
            product.kind.eq(Pass.MATMUL),
            product.steps.eq(f.k_steps),
            product.tiles.eq(at.tile_count),
            product.ends.eq(at.last_tile),
            product.from_h.eq(f.source == Source.H),
            product.a_row.eq(f.a_base),
            product.a_stride.eq(f.a_stride),
            product.ring.eq(at.ring),
            product.pop.eq(Mux(f.keep, 0, self.tile_words)),
            product.row_tile.eq(at.tile_first),
            product.word.eq(f.d_word + at.out_tile),
        ]

    def _scores(self, m: Module, scores: data.View) -> None:
        f, at = self.f, self.at
        m.d.comb += [
            scores.kind.eq(Pass.SCORE),
            scores.steps.eq(f.k_steps),
            scores.tiles.eq(f.key_tiles),
            scores.from_h.eq(1),
            scores.a_row.eq(at.query_row),
            scores.k_row.eq(f.k_base),
            scores.k_stride.eq(f.k_stride),
            scores.row_tile.eq(at.tile_first + at.query),
            scores.half.eq(at.half),
        ]

    def _context(self, m: Module, context: data.View) -> None:
        f, at = self.f, self.at
        m.d.comb += [
            context.kind.eq(Pass.CONTEXT),
            context.steps.eq(f.pv_steps),
            context.tiles.eq(f.tiles),
            context.free.eq(1),
            context.ends.eq(at.last_query),
            context.v_word.eq(f.v_base),
            context.v_stride.eq(f.v_stride),
            context.row_tile.eq(at.tile_first + at.query),
            context.word.eq(f.d_word),
            context.half.eq(at.half),
            context.key_begin.eq(at.key_begin),
            context.keys.eq(at.keys),
        ]

    def _passes(self, m: Module) -> None:
        """Pass after pass."""
        f, at, queue, words, loops = self.f, self.at, self.queue, self.words, self.loops
        joins = (f.op == Op.ATTENTION) & (f.slack == NO_WAIT)
        holding = Signal()
        done = Signal()  # with the last pass, or discard
        m.d.comb += queue.planned.eq(done)
        with m.If(done):
            m.d.sync += self.new.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += loops.begin.eq(1)
                with m.If(queue.loaded & (joins | ~holding)):
                    m.next = "BEGIN"
                with m.Elif(queue.loaded | ~queue.some):
                    m.d.comb += self.pass_valid.eq(holding)
                    with m.If(self.pass_ready):
                        m.d.sync += holding.eq(0)
            with m.State("BEGIN"):
                m.d.sync += self.new.eq(1)
                m.next = "TILE"
                with m.If(at.empty):
                    m.next = "EMPTY"
                with m.Elif(self.attention):
                    m.next = "SCORE"
            with m.State("TILE"):
                weights = words.there | ~f.first_use
                m.d.comb += [
                    self.pass_valid.eq(weights),
                    self.starving.eq(~weights),
                    words.take.eq(weights & f.first_use & self.pass_ready),
                ]
                with m.If(weights & self.pass_ready):
                    m.d.comb += loops.next_tile.eq(1)
                    with m.If(at.last_tile):
                        m.d.comb += done.eq(1)
                        m.next = "IDLE"
            with m.State("SCORE"):
                m.d.comb += self.pass_valid.eq(1)
                with m.If(self.pass_ready):
                    m.d.sync += self.new.eq(0)
                    m.next = "CONTEXT"
            with m.State("CONTEXT"):
                m.d.comb += self.pass_valid.eq(holding)
                with m.If(self.pass_ready | ~holding):
                    m.d.comb += loops.next_query.eq(1)
                    m.d.sync += [self.held.eq(self.context), holding.eq(1), self.new.eq(~at.last_query)]
                    m.next = "SCORE"
                    with m.If(at.last_query):
                        m.d.comb += done.eq(1)
                        m.next = "IDLE"
            with m.State("EMPTY"), m.If(self.quiet):
                # The ring's base must not move under steps.
                m.d.comb += self.skip_begin.eq(1)
                m.next = "DISCARD"
            with m.State("DISCARD"):
                # An empty queue's weights, fetched before that was known, go tile by tile.
                m.d.comb += [
                    self.discard.eq(words.there & f.fetched),
                    words.take.eq(self.discard),
                    loops.next_tile.eq(self.discard),
                    self.starving.eq(f.fetched & ~words.there),
                    self.skip_end.eq(~f.fetched | (self.discard & at.last_tile)),
                    done.eq(self.skip_end),
                ]
                with m.If(self.skip_end):
                    m.next = "IDLE"
