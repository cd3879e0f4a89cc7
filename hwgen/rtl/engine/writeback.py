"""Write back: post-processed rows to their buffer, the residual add, scores and router logits."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import Dest
from hwgen.machine.params import HwParams
from hwgen.rtl.common.decode import delayed
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.engine.drain import row_layout
from hwgen.rtl.engine.plan import Pass

__all__ = ["WriteBack"]


class WriteBack(wiring.Component):
    """Rows enter the post-processing with `in_valid`/`in_row`; `value` is its output `latency` cycles later.

    A buffer is written 2 cycles after `value` (X: with the old word added for X_ADD, saturated to int16). The row's
    address is worked out while the arithmetic runs. Bank and word of a row: see the table in docs/architecture.md.
    Units that use the same memory ports give way: `x_read_next`, `x_write_next` announce the next cycle's use, `h_soon`
    an `h_en` `h_notice` cycles from now.
    """

    LATENCY = 2
    X_READ_LATENCY = 2

    def __init__(self, p: HwParams, *, latency: int, h_notice: int) -> None:
        if latency < 6:
            raise ValueError(f"the address pipeline needs a post-processing latency of at least 6, not {latency}")
        self.p, self.latency, self.h_notice = p, latency, h_notice
        sub = select_bits(p.word // p.c)
        super().__init__(
            {
                "in_valid": In(1),
                "in_row": In(row_layout(p)),
                "value": In(p.c * 24),
                "addr": Out(16),
                "sub": Out(sub),
                "row": Out(p.row_bits),
                "data": Out(p.c * 8),
                "y_en": Out(1),
                "h_en": Out(1),
                "k_en": Out(1),
                "v_en": Out(1),
                "v_addr": Out(16),
                "h_soon": Out(1),
                "x_read_next": Out(1),
                "x_write_next": Out(1),
                "x_read": Out(1),
                "x_read_addr": Out(16),
                "x_read_data": In(p.c * 16),
                "x_en": Out(1),
                "x_addr": Out(16),
                "x_data": Out(p.c * 16),
                "s_en": Out(1),
                "s_half": Out(1),
                "s_row": Out(ceil_log2(p.t)),
                "s_word": Out(16),
                "s_data": Out(p.c * 16),
                "s_mask": Out(p.c),
                "s_first": Out(1),
                "logit_en": Out(1),
                "logit_word": Out(16),
                "logit_data": Out(p.c * 24),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        part = ceil_log2(p.word // p.c)

        # Address: (row / rows per group) * stride, one registered multiply, then base and word.
        group = Signal(p.row_bits, reset_less=True)
        in_row = self.in_row
        with m.Switch(in_row.dest):
            with m.Case(Dest.Y, Dest.H):
                m.d.sync += group.eq(in_row.row >> ceil_log2(p.t))
            with m.Case(Dest.K):
                m.d.sync += group.eq(in_row.row >> ceil_log2(p.c))
            with m.Case(Dest.V):
                m.d.sync += group.eq(in_row.row >> ceil_log2(p.k))
            with m.Default():
                m.d.sync += group.eq(in_row.row)
        whole_words = Signal()
        m.d.sync += whole_words.eq(in_row.dest.matches(Dest.X, Dest.X_ADD, Dest.V))
        product = Signal(16, reset_less=True)
        word = delayed(m, in_row.word, 1)
        offset = Signal(16, reset_less=True)
        m.d.sync += [
            product.eq(group * delayed(m, in_row.d_stride, 1)),
            offset.eq(delayed(m, in_row.d_base, 1) + Mux(whole_words, word, word >> part)),
        ]
        address3 = Signal(16, reset_less=True)
        m.d.sync += address3.eq(product + offset)

        # X is read so that the old word meets the new value.
        wait = self.latency - self.X_READ_LATENCY
        matmul0 = self.in_valid & (in_row.kind == Pass.MATMUL)
        adds = delayed(m, matmul0 & (in_row.dest == Dest.X_ADD), wait - 1, reset=True)
        m.d.comb += [
            self.x_read_next.eq(adds),
            self.x_read.eq(delayed(m, adds, 1, reset=True)),
            self.x_read_addr.eq(delayed(m, address3, wait - 3)),
            self.h_soon.eq(
                delayed(m, matmul0 & (in_row.dest == Dest.H), self.latency + self.LATENCY - self.h_notice, reset=True)
            ),
        ]

        valid = delayed(m, self.in_valid, self.latency, reset=True)
        row = Signal(row_layout(p))
        m.d.comb += row.eq(delayed(m, in_row.as_value(), self.latency))
        address = delayed(m, self.x_read_addr, self.X_READ_LATENCY)

        lanes = [self.value[24 * lane : 24 * lane + 24] for lane in range(p.c)]
        sums = []
        for lane in range(p.c):
            old = self.x_read_data[16 * lane : 16 * lane + 16].as_signed()
            total = Signal(17, name=f"sum{lane}", reset_less=True)
            added = Mux(row.dest == Dest.X_ADD, old, 0)
            m.d.sync += total.eq(lanes[lane][:16].as_signed() + added)
            overflow = total[16] ^ total[15]
            sums.append(Mux(overflow, Cat(~total[16].replicate(15), total[16]), total[:16]))
        m.d.sync += self.x_data.eq(Cat(*sums))

        # Everything else waits one cycle for the X sum's stage, so that all destinations share one latency.
        valid1 = delayed(m, valid, 1, reset=True)
        row1 = Signal(row_layout(p))
        m.d.comb += row1.eq(delayed(m, row.as_value(), 1))
        address1 = delayed(m, address, 1)
        value1 = delayed(m, self.value, 1)
        linear1 = (row1.dest == Dest.X) | (row1.dest == Dest.X_ADD)
        result1 = row1.kind != Pass.SCORE
        for enable, condition in (
            (self.y_en, row1.dest == Dest.Y),
            (self.h_en, row1.dest == Dest.H),
            (self.k_en, row1.dest == Dest.K),
            (self.v_en, row1.dest == Dest.V),
            (self.x_en, linear1),
            (self.logit_en, row1.dest == Dest.LOGITS),
        ):
            m.d.sync += enable.eq(valid1 & result1 & condition)
        m.d.comb += self.x_write_next.eq(valid1 & result1 & linear1)
        m.d.sync += self.s_en.eq(valid1 & (row1.kind == Pass.SCORE))
        first_key = row1.word << ceil_log2(p.c)
        key = Signal(16 + ceil_log2(p.c))
        m.d.comb += key.eq(first_key)
        m.d.sync += [
            self.addr.eq(address1),
            self.v_addr.eq(address1),
            self.x_addr.eq(address1),
            self.sub.eq(row1.word[:part]),
            self.row.eq(row1.row),
            self.data.eq(Cat(*(value1[24 * lane : 24 * lane + 8] for lane in range(p.c)))),
            self.s_half.eq(row1.half),
            self.s_row.eq(row1.slot),
            self.s_word.eq(row1.word),
            self.s_first.eq(row1.first),
            self.s_data.eq(Cat(*(value1[24 * lane : 24 * lane + 16] for lane in range(p.c)))),
            self.s_mask.eq(Cat(*((key + lane < row1.key_end) & (key + lane >= row1.key_begin) for lane in range(p.c)))),
            self.logit_word.eq(row1.word),
            self.logit_data.eq(value1),
        ]
        return m
