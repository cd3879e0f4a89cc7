"""Issuer: walks the loops of a MATMUL or ATTENTION instruction and issues one array step per cycle."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.isa import Op, Source
from hwgen.params import HwParams

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
            "row_tile": p.row_bits,  # rows row_tile*T ... + T-1
            "word": 16,  # C-word of the destination; SCORE: C-word of keys
            "half": 1,  # half of the score buffer
            "first": 1,  # MATMUL: fresh parameters; SCORE: first word of keys; CONTEXT: row factors are not ready yet
        }
    )


class Issuer(wiring.Component):
    """Loops of MATMUL (output tile, row tile, k) and ATTENTION (scores of query tile i+1, then context of tile i).

    Operand addresses leave `lead - 2` cycles after the step's decision, score reads at once, so that all operands reach
    the array `lead` cycles after it, together with `step_*`, `a_source`, `kind` and, on `step_last`, `tile`.
    Steps that end a tile are at least T cycles apart (plus `hold` after the first context tile of a query tile), so the
    drain needs no back-pressure. `done` comes when the last result has been written (`settle` cycles after its step).
    `rows` is the row after the last (queue length for queue instructions). Waits only for the weight ring.
    """

    def __init__(
        self, p: HwParams, *, lead: int, array_latency: int, hold: int, score_settle: int, settle: int
    ) -> None:
        self.p = p
        self.lead, self.array_latency, self.hold = lead, array_latency, hold
        self.score_settle, self.settle = score_settle, settle
        level = ceil_log2(p.weight_depth + 1)
        part = select_bits(p.word // p.k)
        super().__init__(
            {
                "start": In(1),
                "instruction": In(INSTRUCTION_BITS),
                "rows": In(16),
                "done": Out(1),
                # weight ring
                "ring_level": In(level),
                "ring_en": Out(1),
                "ring_index": Out(level),
                "ring_pop": Out(1),
                "ring_pop_count": Out(level),
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
                "s_sum": Out(1),
                "s_first": Out(1),
                "s_last": Out(1),
                # aligned with the operands at the array
                "step_valid": Out(1),
                "step_first": Out(1),
                "step_last": Out(1),
                "kind": Out(Pass),
                "from_h": Out(1),
                "tile": Out(tile_layout(p)),
                "param_en": Out(1),
                "param_index": Out(select_bits(p.param_words)),
                # for the performance counters
                "stall_weights": Out(1),
                "stall_drain": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, Fields(self.instruction)
        log_t, part = ceil_log2(p.t), ceil_log2(p.word // p.k)
        attention = f.op == Op.ATTENTION

        kind = Signal(Pass)
        tile_first, tile_count = Signal(16), Signal(16)
        out_tile, score_tile, context_tile = Signal(16), Signal(16), Signal(16)
        mid, mid_count, inner, inner_count = Signal(16), Signal(16), Signal(16), Signal(16)
        a_row, a_start, query_row = Signal(16), Signal(16), Signal(16)
        k_row, v_word = Signal(16), Signal(16)
        param = Signal(range(p.param_words + 1))

        # Timers. All latencies behind the issue are fixed, so hazards are counted, not signalled back.
        gap = Signal(range(p.t + self.hold + 1))
        param_block = Signal(range(self.array_latency + 3))
        score_wait = [Signal(range(self.score_settle + 1), name=f"score_wait{half}") for half in range(2)]
        finish = Signal(range(self.settle + 1))
        for timer in (gap, param_block, *score_wait):
            with m.If(timer != 0):
                m.d.sync += timer.eq(timer - 1)

        # Words popped at the issue leave the ring later; until then they still count in its level.
        level_shape = self.ring_level.shape()
        pop, pop_count, pending = Signal(), Signal(level_shape), Signal(level_shape)
        tile_words = Signal(level_shape)
        m.d.comb += tile_words.eq(p.param_words + f.k_steps)
        operand_lead = self.lead - 2
        popped = delayed(m, pop, operand_lead + 3, reset=True)
        popped_count = delayed(m, pop_count, operand_lead + 3)
        m.d.sync += pending.eq(pending + Mux(pop, pop_count, 0) - Mux(popped, popped_count, 0))
        available = Signal(level_shape)
        m.d.sync += available.eq(Mux(self.ring_level > pending, self.ring_level - pending, 0))

        issue, issue_param = Signal(), Signal()
        inner_last, mid_last = Signal(), Signal()
        m.d.comb += [inner_last.eq(inner == inner_count - 1), mid_last.eq(mid == mid_count - 1)]
        # `available` is a cycle old: right after a pop it is not to be trusted.
        fresh = Signal()
        m.d.sync += fresh.eq(~pop)
        have_weights = fresh & (p.param_words + inner < available)

        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.sync += [
                    tile_first.eq(f.row_begin >> log_t),
                    tile_count.eq(((self.rows + (p.t - 1)) >> log_t) - (f.row_begin >> log_t)),
                    a_start.eq(f.a_base + (f.row_begin >> log_t) * f.a_stride),
                    query_row.eq(f.a_base),
                    out_tile.eq(0),
                    score_tile.eq(0),
                    context_tile.eq(0),
                ]
                m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [mid.eq(0), inner.eq(0), param.eq(0), finish.eq(self.settle)]
                with m.If(~attention):
                    m.d.sync += [
                        kind.eq(Pass.MATMUL),
                        mid_count.eq(tile_count),
                        inner_count.eq(f.k_steps),
                        a_row.eq(a_start),
                    ]
                    m.next = "PARAM"
                    with m.If(out_tile == f.tiles):
                        m.next = "FINISH"
                with m.Elif((score_tile != tile_count) & (score_tile - context_tile < 2)):
                    m.d.sync += [
                        kind.eq(Pass.SCORE),
                        mid_count.eq(f.key_tiles),
                        inner_count.eq(f.k_steps),
                        a_row.eq(query_row),
                        k_row.eq(f.k_base),
                    ]
                    m.next = "RUN"
                with m.Elif(context_tile != tile_count):
                    m.d.sync += [
                        kind.eq(Pass.CONTEXT),
                        mid_count.eq(f.tiles),
                        inner_count.eq(f.pv_steps),
                        v_word.eq(f.v_base),
                    ]
                    with m.If(Mux(context_tile[0], score_wait[1], score_wait[0]) == 0):
                        m.next = "RUN"
                with m.Else():
                    m.next = "FINISH"
            with m.State("PARAM"):
                m.d.comb += [
                    issue_param.eq((param_block == 0) & fresh & (param < available)),
                    self.stall_weights.eq(~issue_param & (param_block == 0)),
                ]
                with m.If(issue_param):
                    m.d.sync += param.eq(param + 1)
                    with m.If(param == p.param_words - 1):
                        m.next = "RUN"
            with m.State("RUN"):
                blocked = inner_last & (gap != 0)
                starved = (kind == Pass.MATMUL) & ~have_weights
                m.d.comb += [
                    issue.eq(~blocked & ~starved),
                    self.stall_weights.eq(starved),
                    self.stall_drain.eq(blocked & ~starved),
                ]
                with m.If(issue):
                    m.d.sync += [inner.eq(inner + 1), v_word.eq(v_word + f.v_stride)]
                    with m.If(inner_last):
                        m.d.sync += [
                            inner.eq(0),
                            mid.eq(mid + 1),
                            v_word.eq(f.v_base),
                            k_row.eq(k_row + f.k_stride),
                            gap.eq(p.t - 1),
                        ]
                        with m.If(kind == Pass.MATMUL):
                            m.d.sync += a_row.eq(a_row + f.a_stride)
                            with m.If(mid == 0):
                                m.d.sync += param_block.eq(self.array_latency + 2)
                        with m.If((kind == Pass.CONTEXT) & (mid == 0)):
                            m.d.sync += gap.eq(p.t - 1 + self.hold)
                        with m.If(mid_last):
                            m.next = "NEXT"
                            with m.Switch(kind):
                                with m.Case(Pass.MATMUL):
                                    m.d.comb += [pop.eq(1), pop_count.eq(tile_words)]
                                    m.d.sync += out_tile.eq(out_tile + 1)
                                with m.Case(Pass.SCORE):
                                    m.d.sync += [score_tile.eq(score_tile + 1), query_row.eq(query_row + f.a_stride)]
                                    for half in range(2):
                                        with m.If(score_tile[0] == half):
                                            m.d.sync += score_wait[half].eq(self.score_settle)
                                with m.Case(Pass.CONTEXT):
                                    m.d.sync += context_tile.eq(context_tile + 1)
            with m.State("FINISH"):
                m.d.sync += finish.eq(finish - 1)
                with m.If(finish == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

        m.d.comb += [
            self.s_en.eq(issue & (kind == Pass.CONTEXT)),
            self.s_half.eq(context_tile[0]),
            self.s_step.eq(inner),
            self.s_sum.eq(mid == 0),
            self.s_first.eq(inner == 0),
            self.s_last.eq(inner_last & (mid == 0)),
        ]

        def operand(target: Signal, value, *, reset: bool = False) -> None:
            m.d.comb += target.eq(delayed(m, value, operand_lead, reset=reset))

        from_h = (kind == Pass.SCORE) | (f.source == Source.H)
        row_operand = issue & (kind != Pass.CONTEXT)
        operand(self.y_en, row_operand & ~from_h, reset=True)
        operand(self.h_en, row_operand & from_h, reset=True)
        operand(self.a_addr, (a_row + (inner >> part))[:16])
        operand(self.a_sub, inner[:part])
        operand(self.k_en, issue & (kind == Pass.SCORE), reset=True)
        operand(self.k_addr, (k_row + (inner >> part))[:16])
        operand(self.k_sub, inner[:part])
        operand(self.v_en, issue & (kind == Pass.CONTEXT), reset=True)
        operand(self.v_addr, (v_word + mid)[:16])
        operand(self.ring_en, issue_param | (issue & (kind == Pass.MATMUL)), reset=True)
        operand(self.ring_index, Mux(issue_param, param, p.param_words + inner))
        operand(self.ring_pop, pop, reset=True)
        operand(self.ring_pop_count, pop_count)

        tile = Signal(tile_layout(p))
        m.d.comb += [
            tile.kind.eq(kind),
            tile.row_tile.eq(
                Mux(kind == Pass.MATMUL, tile_first + mid, Mux(kind == Pass.SCORE, score_tile, context_tile))
            ),
            tile.word.eq(Mux(kind == Pass.SCORE, mid, f.d_word + Mux(kind == Pass.MATMUL, out_tile, mid))),
            tile.half.eq(Mux(kind == Pass.SCORE, score_tile[0], context_tile[0])),
            tile.first.eq(mid == 0),
        ]
        steps = Cat(issue, issue & inner_last, issue_param)
        m.d.comb += [
            Cat(self.step_valid, self.step_last, self.param_en).eq(delayed(m, steps, self.lead, reset=True)),
            self.step_first.eq(delayed(m, inner == 0, self.lead)),
            self.kind.eq(delayed(m, kind, self.lead)),
            self.from_h.eq(delayed(m, from_h, self.lead)),
            self.tile.eq(delayed(m, tile.as_value(), self.lead)),
            self.param_index.eq(delayed(m, param, self.lead)),
        ]
        return m
