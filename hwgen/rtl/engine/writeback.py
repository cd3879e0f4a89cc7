"""Write back: post-processed rows to their buffer, the residual add, scores and router logits."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import Dest
from hwgen.machine.params import HwParams
from hwgen.rtl.common.decode import delayed
from hwgen.rtl.common.ports import OPERAND_BITS, logit_write, row_read, row_write, word_read, word_write
from hwgen.rtl.common.rowbuffer import RowBuffer
from hwgen.rtl.engine.drain import row_layout, row_port
from hwgen.rtl.engine.plan import Pass
from hwgen.rtl.engine.softmax import score_write

__all__ = ["WriteBack"]


class WriteBack(wiring.Component):
    """Rows enter the post-processing with `rows`; `value` is its output `latency` cycles later.

    A buffer is written 2 cycles after `value` (X: with the old word, shifted by `x_shift`, added for X_ADD, saturated
    to int16). Lanes have nine bits, of which K and V want the low eight. The row's address is worked out while the
    arithmetic runs. Bank and word of a row: see the table in docs/architecture.md.
    `up` reads what gates the row, to show `gate` cycles behind it, from where the row will go.
    Units that use the same memory ports give way: `x_read_next`, `x_write_next` announce the next cycle's use, `h_soon`
    an `h.en` `h_notice` cycles from now.
    """

    LATENCY = 2
    X_READ_LATENCY = 2

    def __init__(self, p: HwParams, *, latency: int, h_notice: int, gate: int = 0) -> None:
        if latency < 6:
            raise ValueError(f"the address pipeline needs a post-processing latency of at least 6, not {latency}")
        self.p, self.latency, self.h_notice, self.gate = p, latency, h_notice, gate
        if p.gated_mlp and gate < 3 + RowBuffer.LATENCY:
            raise ValueError(f"what gates a row comes {3 + RowBuffer.LATENCY} cycles behind it at least, not {gate}")
        x = {"depth": p.x_depth, "width": 16 * p.c}
        word = {"parts": p.word // p.c, "width": OPERAND_BITS * p.c}
        super().__init__(
            {
                "rows": In(row_port(p)),
                "value": In(p.c * 24),
                "y": Out(row_write(banks=p.t, depth=p.y_depth, **word)),
                "h": Out(row_write(banks=p.t, depth=p.h_depth, **word)),
                "keys": Out(row_write(banks=p.c, depth=p.k_depth, **word)),
                "values": Out(row_write(banks=p.k, depth=p.v_depth, **word | {"parts": 1})),
                "h_soon": Out(1),
                "x_read_next": Out(1),
                "x_write_next": Out(1),
                "x_read": Out(word_read(**x)),
                "x": Out(word_write(**x)),
                "scores": Out(score_write(t=p.t, c=p.c, k=p.k, keys=p.max_tokens)),
                "logits": Out(logit_write(p)),
            }
            | ({"up": Out(row_read(banks=p.t, depth=p.h_depth, **word))} if p.gated_mlp else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, in_row = self.p, self.rows.row
        address3 = self._address(m)

        # X is read so that the old word meets the new value.
        wait = self.latency - self.X_READ_LATENCY
        matmul0 = self.rows.valid & (in_row.kind == Pass.MATMUL)
        adds = delayed(m, matmul0 & (in_row.dest == Dest.X_ADD), wait - 1, reset=True)
        x_address = delayed(m, address3, wait - 3)
        m.d.comb += [
            self.x_read_next.eq(adds),
            self.x_read.en.eq(delayed(m, adds, 1, reset=True)),
            self.x_read.addr.eq(x_address),
            self.h_soon.eq(
                delayed(m, matmul0 & (in_row.dest == Dest.H), self.latency + self.LATENCY - self.h_notice, reset=True)
            ),
        ]

        if p.gated_mlp:
            self._gate(m, address3)
        valid = delayed(m, self.rows.valid, self.latency, reset=True)
        row = Signal(row_layout(p))
        m.d.comb += row.eq(delayed(m, in_row.as_value(), self.latency))
        address = delayed(m, x_address, self.X_READ_LATENCY)
        m.d.sync += self.x.data.eq(self._sums(m, row))

        # Everything else waits one cycle for the X sum's stage, so that all destinations share one latency.
        valid1 = delayed(m, valid, 1, reset=True)
        row1 = Signal(row_layout(p))
        m.d.comb += row1.eq(delayed(m, row.as_value(), 1))
        linear1 = (row1.dest == Dest.X) | (row1.dest == Dest.X_ADD)
        result1 = valid1 & (row1.kind != Pass.SCORE)
        for enable, condition in (
            (self.y.en, row1.dest == Dest.Y),
            (self.h.en, row1.dest == Dest.H),
            (self.keys.en, row1.dest == Dest.K),
            (self.values.en, row1.dest == Dest.V),
            (self.x.en, linear1),
            (self.logits.en, row1.dest == Dest.LOGITS),
        ):
            m.d.sync += enable.eq(result1 & condition)
        m.d.comb += self.x_write_next.eq(result1 & linear1)
        m.d.sync += self.scores.en.eq(valid1 & (row1.kind == Pass.SCORE))
        self._write(m, row1, delayed(m, address, 1))
        return m

    def _gate(self, m: Module, address3: Value) -> None:
        """Reads what the row is gated by."""
        p, in_row, wait = self.p, self.rows.row, self.gate - RowBuffer.LATENCY
        m.d.comb += [
            self.up.en.eq(delayed(m, self.rows.valid & in_row.gated, wait, reset=True)),
            self.up.bank.eq(delayed(m, in_row.row[: ceil_log2(p.t)], wait)),
            self.up.sub.eq(delayed(m, in_row.word[: ceil_log2(p.word // p.c)], wait)),
            self.up.addr.eq(delayed(m, address3, wait - 3)),
        ]

    def _address(self, m: Module) -> Value:
        """(row / rows per group) * stride, one registered multiply, then base and word; three cycles later."""
        p, in_row = self.p, self.rows.row
        group = Signal(p.row_bits, reset_less=True)
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
            offset.eq(delayed(m, in_row.d_base, 1) + Mux(whole_words, word, word >> ceil_log2(p.word // p.c))),
        ]
        address = Signal(16, reset_less=True)
        m.d.sync += address.eq(product + offset)
        return address

    def _sums(self, m: Module, row: data.View) -> Value:
        """The word for X, in the next cycle: the value, for X_ADD with the shifted old word added, saturated."""
        sums = []
        adds = row.dest == Dest.X_ADD
        for lane in range(self.p.c):
            # Doubled: the last bit shifted out, added to a one, carries.
            old = Cat(0, self.x_read.data[16 * lane : 16 * lane + 16]).as_signed() >> row.x_shift
            value = Cat(1, self.value[24 * lane :][:16]).as_signed()
            doubled = Signal(18, name=f"doubled{lane}")
            m.d.comb += doubled.eq(value + Mux(adds, old, 0))
            total = Signal(17, name=f"sum{lane}", reset_less=True)
            m.d.sync += total.eq(doubled[1:])
            overflow = total[16] ^ total[15]
            sums.append(Mux(overflow, Cat(~total[16].replicate(15), total[16]), total[:16]))
        return Cat(*sums)

    def _write(self, m: Module, row1: data.View, address1: Value) -> None:
        """What goes with the enables."""
        p = self.p
        value1 = delayed(m, self.value, 1)
        address, row, sub, word = Signal(16), Signal(p.row_bits), Signal.like(self.y.sub), Signal.like(self.y.data)
        m.d.sync += [
            address.eq(address1),
            row.eq(row1.row),
            sub.eq(row1.word[: ceil_log2(p.word // p.c)]),
            word.eq(Cat(*(value1[24 * lane :][:OPERAND_BITS] for lane in range(p.c)))),
        ]
        for port, banks in ((self.y, p.t), (self.h, p.t), (self.keys, p.c), (self.values, p.k)):
            bank = row[: ceil_log2(banks)]
            m.d.comb += [port.bank.eq(bank), port.addr.eq(address), port.sub.eq(sub), port.data.eq(word)]
        m.d.comb += [self.x.addr.eq(address), self.logits.row.eq(row)]

        key = Signal(16 + ceil_log2(p.c))
        m.d.comb += key.eq(row1.word << ceil_log2(p.c))
        m.d.sync += [
            self.scores.half.eq(row1.half),
            self.scores.row.eq(row1.slot),
            self.scores.word.eq(row1.word),
            self.scores.first.eq(row1.first),
            self.scores.data.eq(Cat(*(value1[24 * lane : 24 * lane + 16] for lane in range(p.c)))),
            self.scores.mask.eq(
                Cat(*((key + lane < row1.key_end) & (key + lane >= row1.key_begin) for lane in range(p.c)))
            ),
            self.logits.word.eq(row1.word),
            self.logits.data.eq(value1),
        ]
