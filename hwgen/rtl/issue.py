"""Issuer: walks the loops of MATMUL and ATTENTION instructions and issues one array step per cycle."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.isa import Op, Source
from hwgen.params import HwParams

from .context import CONTEXT_BITS, CONTEXTS, ContextTable
from .decode import INSTRUCTION_BITS, Fields, delayed
from .ram import select_bits

__all__ = ["Issuer", "Pass", "tile_layout"]


class Pass(enum.Enum, shape=unsigned(2)):
    """What an array tile belongs to."""

    MATMUL = 0
    SCORE = 1
    CONTEXT = 2


def tile_layout(p: HwParams) -> data.StructLayout:
    """What the drain must know of a finished tile."""
    return data.StructLayout(
        {
            "kind": Pass,
            "context": CONTEXT_BITS,  # of the instruction
            "row_tile": p.row_bits,  # rows row_tile*T ... + T-1
            "word": 16,  # C-word of the destination; SCORE: C-word of keys
            "half": 1,  # half of the score buffer
            "first": 1,  # MATMUL: fresh parameters; SCORE: first word of keys; CONTEXT: row factors are not ready yet
        }
    )


class Issuer(wiring.Component):
    """Loops of MATMUL (output tile, row tile, k) and ATTENTION (scores of query tile i+1, then context of tile i).

    `start` takes an instruction with its number of `rows` (the row after the last; queue length for queue
    instructions), `fetched` (its weights come through the ring) and `number`; at most CONTEXTS may be unfinished.
    They run one behind the other without a pause for the pipeline: an instruction's first step waits until `slack`
    says that it will meet the results of the one before. `unfinished` counts instructions whose results are not all
    written; `done` (with `done_number`) pulses `settle` cycles after an instruction's last step, when they are.

    Without rows a MATMUL only takes its weights out of the ring, tile by tile; `discarded`: what they took in DRAM, in
    halves of a ring word.

    Operand addresses leave `lead - 2` cycles after the step's decision, score reads at once, so that all operands reach
    the array `lead` cycles after it, together with `step_*`, `kind` and, on `step_last`, `tile`. Steps that end a tile
    are at least T cycles apart (plus `hold` after the first context tile of a query tile), so the drain needs no
    back-pressure. Nothing but missing ring words makes the issuer wait for another unit.
    """

    def __init__(self, p: HwParams, *, lead: int, hold: int, score_settle: int, settle: int) -> None:
        self.p = p
        self.lead, self.hold, self.score_settle, self.settle = lead, hold, score_settle, settle
        if settle >= 255:
            raise ValueError(f"settle must be below 255, the `slack` of independent instructions, not {settle}")
        self.level = ceil_log2(p.weight_depth + 1)
        part = select_bits(p.word // p.k)
        super().__init__(
            {
                "start": In(1),
                "instruction": In(INSTRUCTION_BITS),
                "rows": In(16),
                "fetched": In(1),
                "number": In(16),
                "unfinished": Out(range(CONTEXTS + 1)),
                "begin": Out(1),
                "begin_number": Out(16),
                "done": Out(1),
                "done_number": Out(16),
                # weight ring
                "ring_written": In(1),
                "ring_en": Out(1),
                "ring_index": Out(self.level),
                "ring_pop": Out(1),
                "ring_pop_count": Out(self.level),
                "discarded": Out(self.level + 1),
                # operand buffers
                "y_en": Out(1),
                "h_en": Out(1),
                "a_addr": Out(16),
                "a_sub": Out(part),
                "k_en": Out(1),
                "k_addr": Out(16),
                "k_sub": Out(part),
                "v_en": Out(1),
                "v_addr": Out(16),
                # score buffer
                "s_en": Out(1),
                "s_half": Out(1),
                "s_step": Out(16),
                "s_keys": Out(16),
                "s_begin": Out(select_bits(p.word)),
                "s_sum": Out(1),
                "s_first": Out(1),
                "s_last": Out(1),
                # aligned with the operands at the array
                "step_valid": Out(1),
                "step_first": Out(1),
                "step_last": Out(1),
                "kind": Out(Pass),
                "from_h": Out(1),
                "a_unsigned": Out(1),
                "tile": Out(tile_layout(p)),
                "param_en": Out(1),
                "param_index": Out(select_bits(p.param_words)),
                # exactly one of them while there is an instruction, for the performance counters
                "step": Out(1),
                "starved": Out(1),
                "stall_drain": Out(1),
                "stall_pipeline": Out(1),
                "stall_issue": Out(1),
                "attention_step": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._instructions(m)
        self._ring(m)
        self._loops(m)
        self._operands(m)
        return m

    def _instructions(self, m: Module) -> None:
        """The instructions taken and not finished: their fields in a table, `current` is the one at work."""
        m.submodules.table = table = ContextTable(
            ("op", "source", "a_unsigned", "keep", "narrow", "a_base", "a_stride", "row_begin", "k_steps", "tiles",
             "d_word", "ring_offset", "slack", "k_base", "k_stride", "v_base", "v_stride", "key_tiles", "pv_steps"),
            rows=16, fetched=1, first_use=1, number=16,
        )  # fmt: skip
        self.f = f = Signal(table.layout)
        following = Signal(CONTEXT_BITS)
        self.current = Signal(CONTEXT_BITS)
        waiting, self.ended = Signal(range(CONTEXTS + 1)), Signal()
        self.ready, self.loaded = Signal(), Signal()
        m.d.comb += [
            table.w_en.eq(self.start),
            table.w_context.eq(following),
            table.instruction.eq(self.instruction),
            table.rows.eq(self.rows),
            table.fetched.eq(self.fetched),
            table.first_use.eq(Fields(self.instruction).bytes != 0),
            table.number.eq(self.number),
            table.r_context.eq(self.current),
            self.ready.eq(waiting != 0),
            self.begin_number.eq(f.number),
        ]
        m.d.sync += [
            # The table's read has a register: what depends on the fields is long enough without it.
            f.eq(table.read),
            self.loaded.eq(self.ready & ~self.ended),
            following.eq(following + self.start),
            self.current.eq(self.current + self.ended),
            waiting.eq(waiting + self.start - self.ended),
            self.unfinished.eq(self.unfinished + self.start - self.done),
        ]
        m.d.comb += [
            self.done.eq(delayed(m, self.ended, self.settle, reset=True)),
            self.done_number.eq(delayed(m, f.number, self.settle)),
        ]

    def _ring(self, m: Module) -> None:
        """`have`: the next word of the stream is there. Words are first read in the order in which they came."""
        f, unread = self.f, Signal(self.level)
        self.first_read, self.discard, self.can_discard = Signal(), Signal(), Signal()
        self.tile_words = tile_words = Signal(self.level)
        self.tile_halves = Signal(self.level + 1)  # what they take in DRAM, in halves of a word
        odd = f.k_steps[0] if self.p.piece_bytes == self.p.ring_bytes else 0  # packed by pairs of words: half a pair
        self.have = Signal()
        one, two, taken = Signal(), Signal(), Signal()
        m.d.sync += [
            tile_words.eq(self.p.param_words + f.k_steps),
            self.tile_halves.eq(2 * self.p.param_words + Mux(f.narrow, f.k_steps + odd, 2 * f.k_steps)),
            unread.eq(unread + self.ring_written - Mux(self.discard, tile_words, self.first_read)),
            # judged by the count of the cycle before: with or without the word taken in it
            one.eq(unread != 0),
            two.eq(unread[1:] != 0),
            taken.eq(self.first_read),
            self.can_discard.eq((unread >= tile_words) & ~self.discard),
        ]
        m.d.comb += self.have.eq(Mux(taken, two, one))

    def _loops(self, m: Module) -> None:
        p, f = self.p, self.f
        log_t, log_w = ceil_log2(p.t), ceil_log2(p.word)
        self.issue, self.issue_param, self.pop = issue, issue_param, pop = Signal(), Signal(), Signal()
        self.work = kind = Signal(Pass)
        tile_first, tile_count = Signal(p.row_bits), Signal(p.row_bits)
        out_tile, score_tile, context_tile = Signal(16), Signal(p.row_bits), Signal(p.row_bits)
        self.mid, self.inner, self.param = Signal(16), Signal(16), Signal(select_bits(p.param_words))
        self.a_row, self.k_row, self.v_word = a_row, k_row, v_word = Signal(16), Signal(16), Signal(16)
        query_row = Signal(16)
        self.tile_base = tile_base = Signal(self.level)
        mid, inner, param = self.mid, self.inner, self.param

        # Loop ends are flags, one register ahead of the counts: a step's decision must be short.
        mid_count, inner_count = Signal(16), Signal(16)
        mid_left, inner_left = Signal(16), Signal(16)
        mid_first, mid_last, inner_last = Signal(), Signal(), Signal()
        self.mid_first, self.inner_last = mid_first, inner_last

        def enter(count: Value, left: Signal, last: Signal) -> None:
            m.d.sync += [left.eq(count - 1), last.eq(count == 1)]

        def advance(left: Signal, last: Signal) -> None:
            m.d.sync += [left.eq(left - 1), last.eq(left == 1)]

        # Timers. All latencies behind the issue are fixed, so hazards are counted, not signalled back.
        gap = Signal(range(p.t + self.hold + 1))
        score_wait = [Signal(range(self.score_settle + 1), name=f"score_wait{half}") for half in range(2)]
        for timer in (gap, *score_wait):
            with m.If(timer != 0):
                m.d.sync += timer.eq(timer - 1)
        scores_there = Mux(context_tile[0], score_wait[1], score_wait[0]) == 0
        needed = Signal(bits_for(self.settle))
        since = Signal(bits_for(self.settle), init=self.settle)  # cycles since the last step
        with m.If(issue):
            m.d.sync += since.eq(0)
        with m.Elif(since != self.settle):
            m.d.sync += since.eq(since + 1)

        attention = f.op == Op.ATTENTION
        empty = Signal()
        last_tile = Signal()
        m.d.sync += last_tile.eq(out_tile + 1 == f.tiles)
        with m.FSM():
            with m.State("IDLE"), m.If(self.ready & self.loaded):
                m.d.comb += self.begin.eq(1)
                m.d.sync += [
                    needed.eq(Mux(f.slack > self.settle, 0, self.settle - f.slack)),
                    tile_first.eq(f.row_begin >> log_t),
                    tile_count.eq(((f.rows + (p.t - 1)) >> log_t) - (f.row_begin >> log_t)),
                    self.s_begin.eq(f.row_begin[:log_w]),
                    self.s_keys.eq(f.rows - (f.row_begin >> log_w << log_w)),
                    empty.eq(f.rows == 0),
                    out_tile.eq(0),
                    score_tile.eq(0),
                    context_tile.eq(0),
                    query_row.eq(f.a_base),
                    tile_base.eq(f.ring_offset),
                ]
                m.next = "START"
            with m.State("START"):
                m.d.comb += self.stall_pipeline.eq(since < needed)
                with m.If(since >= needed):
                    m.next = "NEXT"
                    with m.If(~attention):
                        m.d.sync += [kind.eq(Pass.MATMUL), mid_count.eq(tile_count), inner_count.eq(f.k_steps)]
                        m.next = "TILE"
                    with m.If(empty):
                        m.next = "DISCARD"
            with m.State("TILE"):
                # Parameters in front of the first row tile.
                m.d.sync += [mid.eq(0), mid_first.eq(1), inner.eq(0), a_row.eq(f.a_base)]
                enter(mid_count, mid_left, mid_last)
                enter(inner_count, inner_left, inner_last)
                m.d.comb += [
                    issue_param.eq(self.have | ~f.first_use),
                    self.starved.eq(~issue_param),
                ]
                with m.If(issue_param):
                    m.d.sync += param.eq(param + 1)
                    with m.If(param == p.param_words - 1):
                        m.d.sync += param.eq(0)
                        m.next = "RUN"
            with m.State("NEXT"):
                m.d.sync += [mid.eq(0), mid_first.eq(1), inner.eq(0)]
                with m.If((score_tile != tile_count) & (score_tile - context_tile < 2)):
                    m.d.sync += [kind.eq(Pass.SCORE), a_row.eq(query_row), k_row.eq(f.k_base)]
                    m.d.sync += [inner_count.eq(f.k_steps)]
                    enter(f.key_tiles, mid_left, mid_last)
                    enter(f.k_steps, inner_left, inner_last)
                    m.next = "RUN"
                with m.Elif(context_tile != tile_count):
                    m.d.sync += [kind.eq(Pass.CONTEXT), v_word.eq(f.v_base), inner_count.eq(f.pv_steps)]
                    enter(f.tiles, mid_left, mid_last)
                    enter(f.pv_steps, inner_left, inner_last)
                    m.d.comb += self.stall_pipeline.eq(~scores_there)
                    with m.If(scores_there):
                        m.next = "RUN"
                with m.Else():
                    m.d.comb += self.ended.eq(1)
                    m.next = "IDLE"
            with m.State("RUN"):
                blocked = inner_last & (gap != 0)
                weights_there = (kind != Pass.MATMUL) | self.have | ~mid_first | ~f.first_use
                m.d.comb += [
                    issue.eq(~blocked & weights_there),
                    self.starved.eq(~weights_there),
                    self.stall_drain.eq(blocked & weights_there),
                ]
                with m.If(issue):
                    m.d.sync += [inner.eq(inner + 1), v_word.eq(v_word + f.v_stride)]
                    advance(inner_left, inner_last)
                with m.If(issue & inner_last):
                    m.d.sync += [
                        inner.eq(0),
                        mid.eq(mid + 1),
                        mid_first.eq(0),
                        v_word.eq(f.v_base),
                        k_row.eq(k_row + f.k_stride),
                    ]
                    m.d.sync += gap.eq(Mux((kind == Pass.CONTEXT) & mid_first, p.t - 1 + self.hold, p.t - 1))
                    enter(inner_count, inner_left, inner_last)
                    advance(mid_left, mid_last)
                    with m.If(kind == Pass.MATMUL):
                        m.d.sync += a_row.eq(a_row + f.a_stride)
                with m.If(issue & inner_last & mid_last):
                    m.next = "NEXT"
                    with m.Switch(kind):
                        with m.Case(Pass.MATMUL):
                            m.d.comb += pop.eq(~f.keep)
                            m.d.sync += out_tile.eq(out_tile + 1)
                            with m.If(f.keep):
                                m.d.sync += tile_base.eq(tile_base + self.tile_words)
                            m.next = "TILE"
                            with m.If(last_tile):
                                m.d.comb += self.ended.eq(1)
                                m.next = "IDLE"
                        with m.Case(Pass.SCORE):
                            m.d.sync += [score_tile.eq(score_tile + 1), query_row.eq(query_row + f.a_stride)]
                            for half in range(2):
                                with m.If(score_tile[0] == half):
                                    m.d.sync += score_wait[half].eq(self.score_settle)
                        with m.Case(Pass.CONTEXT):
                            m.d.sync += context_tile.eq(context_tile + 1)
            with m.State("DISCARD"):
                # An empty queue's weights, fetched before that was known, go tile by tile.
                m.d.comb += [self.discard.eq(self.can_discard & f.fetched), self.starved.eq(f.fetched & ~self.discard)]
                with m.If(self.discard):
                    m.d.sync += out_tile.eq(out_tile + 1)
                with m.If(~f.fetched | (self.discard & last_tile)):
                    m.d.comb += self.ended.eq(1)
                    m.next = "IDLE"
        m.d.comb += [
            self.first_read.eq((issue_param | (issue & (kind == Pass.MATMUL) & mid_first)) & f.first_use),
            self.step.eq(issue),
            self.attention_step.eq(issue & (kind != Pass.MATMUL)),
            self.stall_issue.eq(self.ready & ~(issue | self.starved | self.stall_drain | self.stall_pipeline)),
            self.discarded.eq(Mux(self.discard, self.tile_halves, 0)),
            self.s_en.eq(issue & (kind == Pass.CONTEXT)),
            self.s_half.eq(context_tile[0]),
            self.s_step.eq(inner),
            self.s_sum.eq(mid_first),
            self.s_first.eq(inner == 0),
            self.s_last.eq(inner_last & mid_first),
        ]
        self.row_tile = tile_first + Mux(kind == Pass.MATMUL, mid, Mux(kind == Pass.SCORE, score_tile, context_tile))
        self.word = Mux(kind == Pass.SCORE, mid, f.d_word + Mux(kind == Pass.MATMUL, out_tile, mid))
        self.half = Mux(kind == Pass.SCORE, score_tile[0], context_tile[0])

    def _operands(self, m: Module) -> None:
        p, f, kind, issue, inner = self.p, self.f, self.work, self.issue, self.inner
        part = ceil_log2(p.word // p.k)
        operand_lead = self.lead - 2

        def operand(target: Signal, value: Value, *, reset: bool = False) -> None:
            m.d.comb += target.eq(delayed(m, value, operand_lead, reset=reset))

        from_h = (kind == Pass.SCORE) | (f.source == Source.H)
        row_operand = issue & (kind != Pass.CONTEXT)
        operand(self.y_en, row_operand & ~from_h, reset=True)
        operand(self.h_en, row_operand & from_h, reset=True)
        operand(self.a_addr, (self.a_row + (inner >> part))[:16])
        operand(self.a_sub, inner[:part])
        operand(self.k_en, issue & (kind == Pass.SCORE), reset=True)
        operand(self.k_addr, (self.k_row + (inner >> part))[:16])
        operand(self.k_sub, inner[:part])
        operand(self.v_en, issue & (kind == Pass.CONTEXT), reset=True)
        operand(self.v_addr, (self.v_word + self.mid)[:16])
        operand(self.ring_en, self.issue_param | (issue & (kind == Pass.MATMUL)), reset=True)
        operand(self.ring_index, self.tile_base + Mux(self.issue_param, self.param, p.param_words + inner))
        operand(self.ring_pop, self.pop | self.discard, reset=True)
        operand(self.ring_pop_count, self.tile_words)

        tile = Signal(tile_layout(p))
        m.d.comb += [
            tile.kind.eq(kind),
            tile.context.eq(self.current),
            tile.row_tile.eq(self.row_tile),
            tile.word.eq(self.word),
            tile.half.eq(self.half),
            tile.first.eq(self.mid_first),
        ]
        steps = Cat(issue, issue & self.inner_last, self.issue_param)
        m.d.comb += [
            Cat(self.step_valid, self.step_last, self.param_en).eq(delayed(m, steps, self.lead, reset=True)),
            self.step_first.eq(delayed(m, inner == 0, self.lead)),
            self.kind.eq(delayed(m, kind, self.lead)),
            self.from_h.eq(delayed(m, from_h, self.lead)),
            self.a_unsigned.eq(delayed(m, f.a_unsigned & (kind == Pass.MATMUL), self.lead)),
            self.tile.eq(delayed(m, tile.as_value(), self.lead)),
            self.param_index.eq(delayed(m, self.param, self.lead)),
        ]
