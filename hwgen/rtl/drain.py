"""Drain: takes finished tiles out of the shadow rows, one row per cycle, and looks up what each row needs."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.params import HwParams

from .decode import INSTRUCTION_BITS, Fields
from .issue import Pass, tile_layout
from .ram import select_bits

__all__ = ["Drain", "row_layout"]


def row_layout(p: HwParams) -> data.StructLayout:
    """What the write back must know of a row."""
    return data.StructLayout(
        {
            "kind": Pass,
            "row": p.row_bits,  # destination row: token, or slot of a queue
            "slot": ceil_log2(p.t),  # row in the tile
            "word": 16,
            "half": 1,
            "first": 1,  # SCORE: first word of keys of this row
        }
    )


class Drain(wiring.Component):
    """Rows of a tile leave in T consecutive cycles from `captured` on (`hold` later for a first context tile).

    In: `captured` with `tile`, the array's `acc` row, `params` words from the ring. Out, LATENCY cycles after its row
    was visible: `out_valid` (masked to the rows of the instruction), `out_acc`, `bias`, `mult`, `shift`, `factor`,
    `use_factor` and `out_row`. A queue row's token and gate weight come from the router's queue memory, a context row's
    factor from the softmax unit.
    """

    LATENCY = 2

    def __init__(self, p: HwParams, *, hold: int) -> None:
        self.p, self.hold = p, hold
        super().__init__(
            {
                "instruction": In(INSTRUCTION_BITS),
                "rows": In(16),
                "captured": In(1),
                "tile": In(tile_layout(p)),
                "acc": In(p.c * 32),
                "shift_rows": Out(1),
                "param_en": In(1),
                "param_index": In(select_bits(p.param_words)),
                "param_data": In(p.ring_bytes * 8),
                "factor_row": Out(ceil_log2(p.t)),
                "softmax_factor": In(17),
                "q_en": Out(1),
                "q_index": Out(p.row_bits),
                "q_token": In(p.row_bits),
                "q_weight": In(17),
                "out_valid": Out(1),
                "out_acc": Out(p.c * 32),
                "bias": Out(p.c * 32),
                "mult": Out(p.c * 16),
                "shift": Out(p.c * 6),
                "use_factor": Out(1),
                "factor": Out(17),
                "out_row": Out(row_layout(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, Fields(self.instruction)
        log_t = ceil_log2(p.t)

        # Which row is visible: slot 0 in the cycle of `captured`, unless the factors must be awaited.
        held = Signal(tile_layout(p))
        tile = Signal(tile_layout(p))
        slot, wait, running = Signal(log_t), Signal(range(self.hold + 2)), Signal()
        beat, start_now = Signal(), Signal()
        must_hold = (self.tile.kind == Pass.CONTEXT) & self.tile.first & (self.hold > 0)
        m.d.comb += [
            start_now.eq(self.captured & ~must_hold),
            beat.eq(start_now | (running & (wait == 0))),
            tile.eq(Mux(self.captured, self.tile.as_value(), held.as_value())),
            self.shift_rows.eq(beat),
            self.factor_row.eq(slot),
        ]
        with m.If(self.captured):
            m.d.sync += [held.eq(self.tile), running.eq(1)]
        with m.If(self.captured & must_hold):
            m.d.sync += wait.eq(self.hold - 1 if self.hold else 0)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(beat):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot == p.t - 1):
                m.d.sync += running.eq(0)

        # Row number, mask, queue look-up (the answer is there one cycle later).
        row = Signal(range(p.max_tokens + p.t + 1))
        m.d.comb += row.eq(Cat(slot, tile.row_tile))
        inside = (row < self.rows) & ((row >= f.row_begin) | (tile.kind != Pass.MATMUL))
        m.d.comb += [self.q_en.eq(beat & f.use_queue), self.q_index.eq(row[: p.row_bits])]

        valid1 = Signal()
        tile1 = Signal(tile_layout(p), reset_less=True)
        row1, slot1 = Signal(p.row_bits, reset_less=True), Signal(log_t, reset_less=True)
        acc1 = Signal(p.c * 32, reset_less=True)
        factor1 = Signal(17, reset_less=True)
        fresh1 = Signal()
        m.d.sync += [
            valid1.eq(beat & inside),
            fresh1.eq(beat & (slot == 0) & tile.first & (tile.kind == Pass.MATMUL)),
            tile1.eq(tile),
            row1.eq(row),
            slot1.eq(slot),
            acc1.eq(self.acc),
            factor1.eq(self.softmax_factor),
        ]

        # Parameters: loaded as they pass by, taken into use with the first row of their output tile.
        load = [Signal(p.c * p.k * 8, name=f"params_load{i}", reset_less=True) for i in range(p.param_words)]
        active = [Signal(p.c * p.k * 8, name=f"params{i}", reset_less=True) for i in range(p.param_words)]
        for index in range(p.param_words):
            with m.If(self.param_en & (self.param_index == index)):
                m.d.sync += load[index].eq(self.param_data)
            with m.If(fresh1):
                m.d.sync += active[index].eq(load[index])

        def parameter(channel: int, first: int, last: int):
            lane_bytes = []
            for byte in range(first, last + 1):
                offset = (channel * p.k + byte % p.k) * 8
                lane_bytes.append(active[byte // p.k][offset : offset + 8])
            return Cat(*lane_bytes)

        kind2 = Signal(Pass, reset_less=True)
        m.d.sync += [
            self.out_valid.eq(valid1),
            self.out_acc.eq(acc1),
            self.use_factor.eq(f.scatter | (tile1.kind == Pass.CONTEXT)),
            self.factor.eq(Mux(f.scatter, self.q_weight, factor1)),
            kind2.eq(tile1.kind),
            self.out_row.kind.eq(tile1.kind),
            self.out_row.row.eq(Mux(f.scatter, self.q_token, row1)),
            self.out_row.slot.eq(slot1),
            self.out_row.word.eq(tile1.word),
            self.out_row.half.eq(tile1.half),
            self.out_row.first.eq(tile1.first),
        ]
        matmul = kind2 == Pass.MATMUL
        mult = Signal(16)
        shift = Signal(6)
        m.d.comb += [
            mult.eq(Mux(kind2 == Pass.SCORE, f.score_mult, f.out_mult)),
            shift.eq(Mux(kind2 == Pass.SCORE, f.score_shift, f.out_shift)),
        ]
        channels = range(p.c)
        m.d.comb += [
            self.bias.eq(Cat(*(parameter(ch, 0, 3) for ch in channels)) & matmul.replicate(p.c * 32)),
            self.mult.eq(Mux(matmul, Cat(*(parameter(ch, 4, 5) for ch in channels)), mult.replicate(p.c))),
            self.shift.eq(Mux(matmul, Cat(*(parameter(ch, 6, 6)[:6] for ch in channels)), shift.replicate(p.c))),
        ]
        return m
