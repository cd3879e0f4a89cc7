"""Moves rows from Y to H: an expert's tokens side by side, or the mean of many rows."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.arithmetic.rounding import saturated_half
from hwgen.rtl.common.ports import OPERAND_BITS, queue_read, row_read, row_write

__all__ = ["Mover"]


class Mover(wiring.Component):
    """GATHER and, with `mean`, MEAN; `start` is a pulse, the command stays stable until `done`. `tiles` is at least 1.

    GATHER: the `tiles` C-words of Y row queue[expert][i] go to row i of H, for i below `count`: one C-word per cycle;
    the next token is looked up meanwhile, which shows only when a row has fewer than 6 words or the queue is late.
    MEAN: word by word, `sat9(rshift(sum of rows row_begin..row_end-1 · mult, shift))` (shift 0..47) goes to row 0 of H.
    The lanes of a sum share one multiplier, so a word takes (rows + C + 14) cycles. Nothing is written for no rows.
    `a_base` is Y's word of row 0 for GATHER, of the group of row_begin for MEAN; `d_base` H's of row 0.

    `queue.en` stays high until a cycle with `queue_ready`; the token is read in the cycle after that one. `y.data` is
    read 2 cycles after `y.en`. `h_hold`: no `h.en` WRITE_LATENCY cycles later.
    """

    READ_LATENCY = 2
    #: From the decision to read (GATHER) or to write (MEAN) to `h.en`.
    WRITE_LATENCY = 1 + READ_LATENCY + 1

    def __init__(self, p: HwParams) -> None:
        self.p = p
        row = {"banks": p.t, "parts": p.word // p.c, "width": OPERAND_BITS * p.c}
        super().__init__(
            {
                "start": In(1),
                "mean": In(1),
                "expert": In(8),
                "count": In(p.row_bits),
                "a_base": In(16),
                "a_stride": In(16),
                "row_begin": In(16),
                "row_end": In(16),
                "tiles": In(16),
                "d_base": In(16),
                "d_stride": In(16),
                "mult": In(16),
                "shift": In(6),
                "busy": Out(1),
                "done": Out(1),
                "queue_ready": In(1),
                "queue": Out(queue_read(p)),
                "y": Out(row_read(depth=p.y_depth, **row)),
                "h_hold": In(1),
                "h": Out(row_write(depth=p.h_depth, **row)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.written, self.following = Signal(), Signal()  # a word is given to `_write` now, in the next cycle
        self.row_ends = Signal()  # ... is the last one of its row
        self.empty = Signal()
        self.means = Signal(reset_less=True)  # from the cycle after `start` on
        m.d.sync += self.means.eq(self.mean)
        m.d.comb += self.empty.eq(self.start & Mux(self.mean, self.row_begin >= self.row_end, self.count == 0))
        gather, valid, first, last = self._read(m)
        complete, mean_word = self._mean(m, valid & self.means, first, last)
        waiting = Signal()
        m.d.sync += waiting.eq(complete | (waiting & self.h_hold))
        decided = gather | (waiting & ~self.h_hold)
        for i in range(self.WRITE_LATENCY - 2):
            copy = Signal(name=f"decided{i}")
            m.d.sync += copy.eq(decided)
            decided = copy
        m.d.comb += self.following.eq(decided)
        m.d.sync += self.written.eq(self.following)
        self._write(m, Mux(self.means, mean_word, self.y.data))
        return m

    def _rows(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Looks up the address of the next source row of GATHER: (known, taken, bank, first word). MEAN's stays."""
        p = self.p
        bits = self.y.addr.shape().width
        row_log = ceil_log2(p.t)
        known, taken = Signal(), Signal()
        left = Signal(p.row_bits)
        accepted, asking, product_valid = Signal(), Signal(), Signal()
        bank, product_bank = Signal(row_log, reset_less=True), Signal(row_log, reset_less=True)
        base = Signal(bits, reset_less=True)
        # row group · stride, as shifts and sums: in this cycle those of four bits each, in the next one their total
        group = self.queue.token[row_log:]
        terms = [self.a_stride[:bits] << i & bit.replicate(bits) for i, bit in enumerate(group)]
        sums = [Signal(bits, name=f"product{i}", reset_less=True) for i in range(0, len(terms), 4)]
        m.d.comb += accepted.eq(self.queue.en & self.queue_ready)
        m.d.sync += [total.eq(sum(terms[4 * i : 4 * i + 4])) for i, total in enumerate(sums)]
        m.d.sync += [
            asking.eq(accepted),
            self.queue.expert.eq(self.expert),
            product_bank.eq(self.queue.token),
            product_valid.eq(asking),
        ]
        with m.If(taken):
            m.d.sync += known.eq(0)
        with m.If(product_valid):
            m.d.sync += [known.eq(1), bank.eq(product_bank), base.eq(sum(sums, self.a_base))]
        with m.If(asking):  # not when it was accepted: that is known late
            m.d.sync += [self.queue.index.eq(self.queue.index + 1), left.eq(left - 1)]
        with m.If(accepted):
            m.d.sync += self.queue.en.eq(0)
        with m.Elif((left != 0) & ~(known | asking | product_valid)):
            m.d.sync += self.queue.en.eq(1)
        with m.If(self.start):
            m.d.sync += [known.eq(0), self.queue.index.eq(0), left.eq(self.count)]
            with m.If(self.mean):
                m.d.sync += [left.eq(0), bank.eq(self.row_begin), base.eq(self.a_base)]
        return known, taken, bank, base

    def _read(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """Issues the Y reads; returns whether one is for GATHER, and MEAN's flags of the word in `m_data`: valid, first
        and last row."""
        p = self.p
        row_log, part_log = ceil_log2(p.t), ceil_log2(p.word // p.c)
        known, taken, next_bank, next_base = self._rows(m)
        reading, issue = Signal(), Signal()
        word, tiles_left, rows_left = (
            Signal(16, reset_less=True, name=name) for name in ("word", "tiles_left", "rows_left")
        )
        bank = Signal(row_log, reset_less=True)
        base = Signal(self.y.addr.shape(), reset_less=True)
        first, last = Signal(reset_less=True), Signal()
        ends, final = Signal(), Signal(reset_less=True)  # a row of GATHER; its last word is next
        free, again = Signal(), Signal()  # for the next row of GATHER, the next word of MEAN
        m.d.comb += [
            issue.eq(reading & (self.means | ~self.h_hold)),
            last.eq(rows_left == 1),
            ends.eq(issue & final),
            free.eq(~reading | ends),
            taken.eq(known & free),
        ]
        # `following`'s words of MEAN are far apart: what `row_ends` says in that cycle holds in the next one.
        m.d.sync += again.eq(Mux(self.start, self.mean & ~self.empty, self.means & self.following & ~self.row_ends))
        m.d.sync += [
            self.y.en.eq(issue),
            self.y.bank.eq(bank),
            self.y.addr.eq(base + (word >> part_log)),
            self.y.sub.eq(word[:part_log]),
        ]
        with m.If(self.means):
            with m.If(reading):
                m.d.sync += [bank.eq(bank + 1), rows_left.eq(rows_left - 1), first.eq(0), reading.eq(~last)]
                with m.If(bank.all()):
                    m.d.sync += base.eq(base + self.a_stride)
            with m.If(again):
                m.d.sync += [reading.eq(1), bank.eq(next_bank), base.eq(next_base), first.eq(1), word.eq(word + 1)]
                m.d.sync += rows_left.eq(self.row_end - self.row_begin)
        with m.Else():
            with m.If(issue):
                m.d.sync += [word.eq(word + 1), tiles_left.eq(tiles_left - 1), final.eq(tiles_left == 2)]
            with m.If(free):  # whether the next row is known or not
                m.d.sync += [reading.eq(known), bank.eq(next_bank), base.eq(next_base), word.eq(0)]
                m.d.sync += [tiles_left.eq(self.tiles), final.eq(self.tiles == 1)]
        with m.If(self.start):
            m.d.sync += word.eq(-1)
        flags = Cat(reading, first, last)
        for i in range(1 + self.READ_LATENCY):
            copy = Signal(3, name=f"read{i}")
            m.d.sync += copy.eq(flags)
            flags = copy
        return issue & ~self.means, flags[0], flags[1], flags[2]

    def _mean(self, m: Module, valid: Value, first: Value, last: Value) -> tuple[Signal, Signal]:
        """Sums of one word, then lane after lane through the multiplier; a pulse when the returned word is complete."""
        p = self.p
        shape = signed(OPERAND_BITS + p.row_bits)
        sums = [Signal(shape, reset_less=True, name=f"sum{i}") for i in range(p.c)]
        stages = 4
        turning = Signal()
        lane = Signal(range(p.c), reset_less=True)
        valids, ends = Signal(stages), Signal(stages)
        end = turning & (lane == p.c - 1)
        m.d.sync += [valids.eq(Cat(turning, valids)), ends.eq(Cat(end, ends))]
        with m.If(turning):
            m.d.sync += [lane.eq(lane + 1), Cat(*sums).eq(Cat(*sums[1:], sums[0]))]
            with m.If(end):
                m.d.sync += turning.eq(0)
        with m.If(valid):
            for i, total in enumerate(sums):
                m.d.sync += total.eq(Mux(first, 0, total) + self.y.data.word_select(i, OPERAND_BITS).as_signed())
            with m.If(last):
                m.d.sync += [turning.eq(1), lane.eq(0)]
        product = Signal(signed(shape.width + 16), reset_less=True)
        # rshift(v, s) = ((2·v >> s) + 1) >> 1
        doubled = Signal(signed(shape.width + 17), reset_less=True)
        mean = Signal(signed(OPERAND_BITS), reset_less=True)
        result = Signal(OPERAND_BITS * p.c, reset_less=True)
        m.d.sync += [
            product.eq(sums[0] * self.mult),
            doubled.eq(Cat(Const(0, 1), product).as_signed() >> self.shift),
            mean.eq(saturated_half(m, doubled, OPERAND_BITS, "rounded", symmetric=True)),
        ]
        with m.If(valids[2]):
            m.d.sync += result.eq(Cat(result[OPERAND_BITS:], mean))
        complete = Signal()
        m.d.comb += complete.eq(ends[3])
        return complete, result

    def _write(self, m: Module, data: Value) -> None:
        """H address counters, `done`."""
        p = self.p
        row_log, part_log = ceil_log2(p.t), ceil_log2(p.word // p.c)
        group = Signal(self.h.addr.shape(), reset_less=True)
        row = Signal(row_log, reset_less=True)
        rows_left = Signal(p.row_bits, reset_less=True)
        word, tiles_left = (Signal(16, reset_less=True, name=name) for name in ("h_word", "h_tiles_left"))
        ended = Signal()
        m.d.sync += [
            self.h.en.eq(self.written),
            self.h.bank.eq(row),
            self.h.addr.eq(group + (word >> part_log)),
            self.h.sub.eq(word[:part_log]),
            self.h.data.eq(data),
            ended.eq((self.written & self.row_ends & (self.means | (rows_left == 1))) | self.empty),
            self.done.eq(ended),
        ]
        with m.If(self.written):
            m.d.sync += [word.eq(word + 1), tiles_left.eq(tiles_left - 1), self.row_ends.eq(tiles_left == 2)]
            with m.If(self.row_ends):
                m.d.sync += [
                    word.eq(0),
                    tiles_left.eq(self.tiles),
                    self.row_ends.eq(self.tiles == 1),
                    row.eq(row + 1),
                    rows_left.eq(rows_left - 1),
                ]
                with m.If(row.all()):
                    m.d.sync += group.eq(group + self.d_stride)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.busy.eq(1),
                word.eq(0),
                tiles_left.eq(self.tiles),
                self.row_ends.eq(self.tiles == 1),
                row.eq(0),
                rows_left.eq(self.count),
                group.eq(self.d_base),
            ]
