"""Drain: takes finished tiles out of the shadow rows, one row per cycle, and looks up what each row needs."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import BY_NAME, Dest
from hwgen.machine.params import HwParams
from hwgen.rtl.common.context import CONTEXT_BITS, ContextTable
from hwgen.rtl.common.decode import INSTRUCTION_BITS, delayed
from hwgen.rtl.common.ports import queue_read
from hwgen.rtl.common.ram import Ram, select_bits
from hwgen.rtl.engine.array import ComputeArray
from hwgen.rtl.engine.issue import tile_layout
from hwgen.rtl.engine.plan import Pass
from hwgen.rtl.engine.postprocess import Mode, requantized_row
from hwgen.rtl.engine.softmax import factor_read

__all__ = ["Drain", "row_layout", "row_port"]


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
            "dest": BY_NAME["dest"].bits,
            "d_base": 16,
            "d_stride": 16,
            "x_shift": BY_NAME["x_shift"].bits,
            **({"gated": 1} if p.gated_mlp else {}),
            "key_begin": select_bits(p.word),  # SCORE: keys from here ...
            "key_end": p.row_bits + 1,  # ... to before here count
        }
    )


def row_port(p: HwParams) -> wiring.Signature:
    """Rows on their way to the write back."""
    return wiring.Signature({"valid": Out(1), "row": Out(row_layout(p))})


class Drain(wiring.Component):
    """Rows of a tile are taken in T consecutive cycles from the one after `capturing` on and looked at `hold` cycles
    later, when the row factors of a first context tile are there.

    In: `start` with each instruction of the engine, `capturing` and a cycle later `tile`, the array's `acc` row (to
    which `shift_rows` brings the next one two cycles later), parameter words from the ring as the issuer reads them.
    Out, `hold` + LATENCY cycles after its row was visible: `post`, what the post-processing needs, and `out` for the
    write back, both valid for the rows of the instruction alone. A queue row's token and gate weight come from the
    router's `queue` memory, a context row's factor from the softmax unit.
    """

    LATENCY = 2

    def __init__(self, p: HwParams, *, hold: int) -> None:
        self.p, self.hold = p, hold
        if hold < 1:
            raise ValueError(f"hold must be 1 at least: what is known of a tile has a register, not {hold}")
        # Sets of parameters under way: those read while a finished tile passes through the array, and two more.
        self.param_sets = 1 << ceil_log2(3 + ComputeArray.LATENCY // p.t)
        super().__init__(
            {
                "start": In(1),
                "instruction": In(INSTRUCTION_BITS),
                "rows": In(16),
                "capturing": In(1),
                "tile": In(tile_layout(p)),
                "acc": In(p.c * 32),
                "shift_rows": Out(1),
                "param_en": In(1),
                "param_index": In(select_bits(p.param_words)),
                "param_data": In(p.ring_bytes * 8),
                "factors": Out(factor_read(t=p.t)),
                "queue": Out(queue_read(p)),
                "post": Out(requantized_row(c=p.c, gated=p.gated_mlp)),
                "out": Out(row_port(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, post = self.p, self.post
        log_t = ceil_log2(p.t)
        m.submodules.table = table = ContextTable(
            ("expert", "dest", "scatter", "activate", "row_begin", "d_base", "d_stride", "act_mult", "act_shift",
             "act_zero", "x_shift", "score_mult", "score_shift", "out_mult", "out_shift",
             *(["gated"] if p.gated_mlp else [])),
            rows=16,
        )  # fmt: skip
        following = Signal(CONTEXT_BITS)
        m.d.sync += following.eq(following + self.start)

        tile, beat, slot = self._rows(m)
        m.d.comb += [
            table.w_en.eq(self.start),
            table.w_context.eq(following),
            table.instruction.eq(self.instruction),
            table.rows.eq(self.rows),
            table.r_context.eq(tile.context),
            self.factors.row.eq(slot),
        ]

        # Row number, mask, queue look-up (the answer is there one cycle later).
        f = table.read
        row = Signal(range(p.max_tokens + p.t + 1))
        m.d.comb += [
            row.eq(Cat(slot, tile.row_tile)),
            self.queue.en.eq(beat & f.scatter),
            self.queue.expert.eq(f.expert),
            self.queue.index.eq(row[: p.row_bits]),
        ]
        fresh = beat & (slot == 0) & tile.first & (tile.kind == Pass.MATMUL)
        valid1, fresh1 = Signal(), Signal()
        f1 = Signal(table.layout, reset_less=True)
        tile1 = Signal(tile_layout(p), reset_less=True)
        row1, slot1 = Signal(p.row_bits, reset_less=True), Signal(log_t, reset_less=True)
        acc1 = Signal(p.c * 32, reset_less=True)
        factor1 = Signal(17, reset_less=True)
        m.d.sync += [
            valid1.eq(beat & (row < f.rows) & (row >= f.row_begin)),
            fresh1.eq(fresh),
            f1.eq(f),
            tile1.eq(tile),
            row1.eq(row),
            slot1.eq(slot),
            acc1.eq(delayed(m, self.acc, self.hold)),
            factor1.eq(self.factors.factor),
        ]
        f2 = Signal(table.layout, reset_less=True)
        m.d.comb += self.out.valid.eq(post.valid)
        m.d.sync += [
            f2.eq(f1),
            post.valid.eq(valid1),
            post.acc.eq(acc1),
            post.use_factor.eq(f1.scatter | (tile1.kind == Pass.CONTEXT)),
            post.factor.eq(Mux(f1.scatter, self.queue.weight, factor1)),
        ]
        self._describe(m, f1, tile1, row1, slot1)
        self._post(m, f2, self._parameters(m, fresh, fresh1))
        return m

    def _rows(self, m: Module) -> tuple[data.View, Signal, Signal]:
        """Rows are taken at once, to make room for the next tile, and looked at when their factors are there: (tile,
        whether there is a row, its number in the tile), then."""
        p = self.p
        taking, place = Signal(), Signal(ceil_log2(p.t))
        tile = Signal(tile_layout(p), reset_less=True)
        slot, beat = Signal.like(place), Signal()
        with m.If(taking):
            m.d.sync += place.eq(place + 1)
        m.d.sync += taking.eq(self.shift_rows)
        m.d.comb += [
            self.shift_rows.eq(self.capturing | (taking & (place != p.t - 1))),
            beat.eq(delayed(m, taking, self.hold, reset=True)),
            slot.eq(delayed(m, place, self.hold)),
        ]
        arrives = delayed(m, self.capturing, self.hold, reset=True)
        arriving = delayed(m, self.tile.as_value(), self.hold - 1)
        with m.If(arrives):
            m.d.sync += tile.eq(arriving)
        return tile, beat, slot

    def _describe(self, m: Module, f1: data.View, tile1: data.View, row1: Signal, slot1: Signal) -> None:
        """What the write back must know."""
        p, out, log_w = self.p, self.out.row, ceil_log2(self.p.word)
        m.d.sync += [
            out.kind.eq(tile1.kind),
            out.row.eq(Mux(f1.scatter, self.queue.token, row1)),
            out.slot.eq(slot1),
            out.word.eq(tile1.word),
            out.half.eq(tile1.half),
            out.first.eq(tile1.first),
            # an ATTENTION instruction names no destination: its context goes to Y
            out.dest.eq(Mux(tile1.kind == Pass.MATMUL, f1.dest, Dest.Y)),
            out.d_base.eq(f1.d_base),
            out.d_stride.eq(f1.d_stride),
            out.x_shift.eq(f1.x_shift),
            *([out.gated.eq((tile1.kind == Pass.MATMUL) & f1.gated)] if p.gated_mlp else []),
            out.key_begin.eq(f1.row_begin[:log_w]),
            out.key_end.eq(f1.rows - (f1.row_begin >> log_w << log_w)),
        ]

    def _parameters(self, m: Module, fresh: Value, fresh1: Value) -> list[Signal]:
        """Words with the parameters of the row leaving: queued as they pass by, the first one last, taken with a tile's
        first row."""
        p = self.p
        filled, taken = Signal(range(self.param_sets)), Signal(range(self.param_sets))
        active = []
        for index in range(p.param_words):
            m.submodules[f"params{index}"] = queue = Ram(width=p.c * p.k * 8, depth=self.param_sets)
            word = Signal(p.c * p.k * 8, name=f"active{index}", reset_less=True)
            m.d.comb += [
                queue.w_en.eq(self.param_en & (self.param_index == index)),
                queue.w_addr.eq(filled),
                queue.w_data.eq(self.param_data),
                queue.r_en.eq(fresh),
                queue.r_addr.eq(taken),
            ]
            with m.If(fresh1):
                m.d.sync += word.eq(queue.r_data)
            active.append(word)
        with m.If(self.param_en & (self.param_index == 0)):
            m.d.sync += filled.eq(filled + 1)
        m.d.sync += taken.eq(taken + fresh)
        return active

    def _post(self, m: Module, f: data.View, active: list[Signal]) -> None:
        """What the post-processing must do with the row."""
        p, post = self.p, self.post

        def parameter(channel: int, first: int, last: int) -> Value:
            lane_bytes = []
            for byte in range(first, last + 1):
                offset = (channel * p.k + byte % p.k) * 8
                lane_bytes.append(active[byte // p.k][offset : offset + 8])
            return Cat(*lane_bytes)

        kind = self.out.row.kind
        matmul = kind == Pass.MATMUL
        mult = Signal(16)
        shift = Signal(6)
        channels = range(p.c)
        m.d.comb += [
            mult.eq(Mux(kind == Pass.SCORE, f.score_mult, f.out_mult)),
            shift.eq(Mux(kind == Pass.SCORE, f.score_shift, f.out_shift)),
            post.bias.eq(Cat(*(parameter(ch, 0, 3) for ch in channels)) & matmul.replicate(p.c * 32)),
            post.mult.eq(Mux(matmul, Cat(*(parameter(ch, 4, 5) for ch in channels)), mult.replicate(p.c))),
            post.shift.eq(Mux(matmul, Cat(*(parameter(ch, 6, 6)[:6] for ch in channels)), shift.replicate(p.c))),
            post.act_mult.eq(f.act_mult),
            post.act_shift.eq(f.act_shift),
            post.act_zero.eq(f.act_zero),
            post.mode.eq(Mode.OPERAND),
            *([post.gated.eq(self.out.row.gated)] if p.gated_mlp else []),
        ]
        with m.If(kind == Pass.SCORE):
            m.d.comb += post.mode.eq(Mode.INT16)
        with m.Elif(matmul & f.activate):
            m.d.comb += post.mode.eq(Mode.ACTIVATION)
        with m.Elif(matmul), m.Switch(f.dest):
            with m.Case(Dest.K, Dest.V):
                m.d.comb += post.mode.eq(Mode.INT8)
            with m.Case(Dest.X, Dest.X_ADD):
                m.d.comb += post.mode.eq(Mode.INT16)
            with m.Case(Dest.LOGITS):
                m.d.comb += post.mode.eq(Mode.INT24)
