"""STORE: rows of X or Y → beats of int16 for the output region."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.isa import BY_NAME
from hwgen.machine.params import HwParams
from hwgen.rtl.common.gearbox import Gearbox, ShiftQueue
from hwgen.rtl.common.ports import OPERAND_BITS, row_read, strobed_beats, word_read
from hwgen.rtl.common.ram import select_bits

__all__ = ["StoreUnit"]


class StoreUnit(wiring.Component):
    """Reads rows `row_begin` .. `row_end` - 1, `tiles` C-words each, and puts them out without gaps, as int16.

    They are read from `x` (`from_y` low) or `y` (nine bits, widened), whose data come READ_LATENCY cycles later;
    `a_base` is X's word of row_begin or Y's of its group. A C-word or a beat per cycle. Only the last of the `beats`
    may have strobes off; `last` marks it. `done` is a pulse one cycle after the last beat was taken.
    With the parameter `spill`, `x.en` is low in the cycle after `x_hold`.
    `row_end` > `row_begin` and `tiles` > 0. `abort` (level) drops the command; `beats.valid` may then fall.
    """

    READ_LATENCY = 2
    #: Words read but not yet passed on: the request, its latency, queue and the returning credit take a cycle each.
    QUEUE = 1 + READ_LATENCY + 2

    def __init__(self, p: HwParams) -> None:
        self.t, self.c, self.beat_bits, self.spill = p.t, p.c, p.data_bus, p.spill
        self.parts = p.word // p.c  # C-words of a Y word
        fields = ("a_base", "a_stride", "row_begin", "row_end", "tiles")
        super().__init__(
            {
                "start": In(1),
                "from_y": In(1),
                **{name: In(BY_NAME[name].bits) for name in fields},
                "busy": Out(1),
                "done": Out(1),
                "abort": In(1),
                **({"x_hold": In(1)} if p.spill else {}),
                "x": Out(word_read(depth=p.x_depth, width=16 * p.c)),
                "y": Out(row_read(banks=p.t, parts=self.parts, depth=p.y_depth, width=OPERAND_BITS * p.c)),
                "beats": Out(strobed_beats(p.data_bus)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        credit = Signal(range(self.QUEUE + 1), init=self.QUEUE)
        read, all_ends = self._read(m, (credit != 0) & ~self.x_hold if self.spill else credit != 0)
        arriving = Signal(1 + self.READ_LATENCY)
        ending = Signal(1 + self.READ_LATENCY)
        m.d.sync += [arriving.eq(Cat(read, arriving)), ending.eq(Cat(all_ends, ending))]
        popped = self._widen(m, arriving[-1], ending[-1])
        m.d.sync += credit.eq(credit - read + popped)

        finished = Signal()
        m.d.comb += finished.eq(self.beats.valid & self.beats.ready & self.last)
        m.d.sync += self.done.eq(finished)
        with m.If(finished):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.If(self.abort):
            m.d.sync += [self.busy.eq(0), arriving.eq(0), self.done.eq(0), credit.eq(self.QUEUE)]
        return m

    def _read(self, m: Module, free: Value) -> tuple[Value, Value]:
        """Issues the reads while there is room for a word; returns whether there is one, and the command's last."""
        bank_bits, sub_bits = exact_log2(self.t), exact_log2(self.parts)
        address_bits = max(len(self.x.addr), len(self.y.addr))
        rows_left = Signal(BY_NAME["row_end"].bits, reset_less=True)
        tiles_left = Signal(BY_NAME["tiles"].bits, reset_less=True)
        bank = Signal(bank_bits, reset_less=True)
        line = Signal(address_bits, reset_less=True)  # address of the row's first word
        address = Signal(address_bits, reset_less=True)
        next_line = Signal(address_bits)
        sub = Signal(select_bits(self.parts), reset_less=True)
        run, read, row_ends, all_ends = Signal(), Signal(), Signal(), Signal()

        m.d.comb += [
            read.eq(run & free),
            row_ends.eq(tiles_left == 1),
            all_ends.eq(row_ends & (rows_left == 1)),
            # A bank word holds every t-th row; all banks of a row group share the address.
            next_line.eq(Mux(~self.from_y | bank.all(), line + self.a_stride, line)),
        ]
        m.d.sync += [
            self.x.en.eq(read & ~self.from_y),
            self.y.en.eq(read & self.from_y),
            self.x.addr.eq(address),
            self.y.addr.eq(address),
            self.y.bank.eq(bank),
            self.y.sub.eq(sub),
        ]
        with m.If(self.start):
            m.d.sync += [line.eq(self.a_base), address.eq(self.a_base), run.eq(1)]
            m.d.sync += [rows_left.eq(self.row_end - self.row_begin), bank.eq(self.row_begin)]
            m.d.sync += [tiles_left.eq(self.tiles), sub.eq(0)]
        with m.If(read):
            with m.If(row_ends):
                m.d.sync += [rows_left.eq(rows_left - 1), bank.eq(bank + 1), line.eq(next_line)]
                m.d.sync += [tiles_left.eq(self.tiles), sub.eq(0), address.eq(next_line)]
            with m.Else():
                m.d.sync += [tiles_left.eq(tiles_left - 1), sub.eq((sub + 1) & (self.parts - 1))]
                with m.If(~self.from_y | sub.all() if sub_bits else 1):
                    m.d.sync += address.eq(address + 1)
            with m.If(all_ends):
                m.d.sync += run.eq(0)
        with m.If(self.abort):
            m.d.sync += run.eq(0)
        return read, all_ends

    def _widen(self, m: Module, arrives: Value, ends: Value) -> Value:
        """Words that arrive → beats; returns whether one left the queue. Room was reserved for them."""
        m.submodules.queue = queue = ShiftQueue(width=16 * self.c + 1, depth=self.QUEUE)
        m.submodules.gearbox = gearbox = Gearbox(in_bits=16 * self.c, out_bits=self.beat_bits)
        widened = Signal(16 * self.c)
        for channel in range(self.c):
            operand = self.y.data.word_select(channel, OPERAND_BITS).as_signed()
            m.d.comb += widened.word_select(channel, 16).eq(operand)
        m.d.comb += [
            queue.clear.eq(self.abort),
            queue.push.eq(arrives),
            queue.data.eq(Cat(Mux(self.from_y, widened, self.x.data), ends)),
            gearbox.clear.eq(self.abort),
            gearbox.in_valid.eq(queue.some),
            queue.pop.eq(gearbox.in_valid & gearbox.in_ready),
            gearbox.in_data.eq(queue.head),
            gearbox.in_last.eq(queue.head[-1]),
            self.beats.valid.eq(gearbox.out_valid),
            gearbox.out_ready.eq(self.beats.ready),
            self.beats.payload.data.eq(gearbox.out_data),
            self.last.eq(gearbox.out_last),
        ]
        if gearbox.down > 1:
            m.d.comb += gearbox.in_count.eq(gearbox.down - 1)
        word_strobes = [(gearbox.out_count >= part).replicate(2 * self.c) for part in range(gearbox.up)]
        m.d.comb += self.beats.payload.strb.eq(Cat(*word_strobes) if gearbox.up > 1 else ~0)
        return queue.pop
