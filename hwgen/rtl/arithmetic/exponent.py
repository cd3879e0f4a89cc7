"""2^-u from a table and a shift: the exponent of the attention's softmax, and look-up as logic."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.tables import EXP

__all__ = ["DITHER_BITS", "ExponentRow", "lookup"]

#: Of a probability in the table beyond those that stay.
DITHER_BITS = 5


def lookup(table: Sequence[int], index: Value) -> Value:
    """`table[index]` as logic, a bit at a time: each bit of a table of 64 is one LUT."""
    width = max(table).bit_length()
    columns = [sum((entry >> bit & 1) << row for row, entry in enumerate(table)) for bit in range(width)]
    return Cat(*(Const(column, len(table)).bit_select(index, 1) for column in columns))


class ExponentRow(wiring.Component):
    """p = ((EXP[u & 31] >> (u >> 5)) + dither) >> 5 with u = maximum - score, for `k` scores of one row.

    In: `maximum` (int16), `scores` k×int16, `mask` k (0: the score is ignored, p = 0); DITHER_AFTER cycles later, as
    rows share it, `dither` k×5 bits. Out, LATENCY later: `p` k×uint8.
    An unmasked score must not exceed `maximum`. No stalls, all may change every cycle.
    """

    LATENCY = 3
    DITHER_AFTER = 2

    def __init__(self, *, k: int) -> None:
        self.k = k
        ports = {"maximum": In(16), "scores": In(16 * k), "mask": In(k), "dither": In(DITHER_BITS * k)}
        super().__init__(ports | {"p": Out(8 * k)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # One bit of the shift is in the table: 64 entries still are one LUT a bit.
        table = [entry >> halved for halved in range(2) for entry in EXP]
        results = []
        for lane in range(self.k):
            # Both are int16, so the non-negative difference of an unmasked score is exact modulo 2^16.
            u = Signal(16, name=f"u{lane}", reset_less=True)
            live = Signal(name=f"live{lane}", reset_less=True)
            value = Signal(13, name=f"value{lane}", reset_less=True)
            quarters = Signal(3, name=f"quarters{lane}", reset_less=True)
            total = Signal(13, name=f"total{lane}")
            p = Signal(8, name=f"p{lane}", reset_less=True)
            m.d.sync += [
                u.eq(self.maximum - self.scores.word_select(lane, 16)),
                live.eq(self.mask[lane]),
                value.eq(lookup(table, u[:6])),
                quarters.eq(u[6:9]),
                p.eq(total[DITHER_BITS:]),
            ]
            with m.If(~live | u[9:].any()):  # dither alone is not enough for a probability
                m.d.sync += value.eq(0)
            shifted = value >> Cat(0, quarters)
            m.d.comb += total.eq(shifted + self.dither.word_select(lane, DITHER_BITS))
            results.append(p)
        m.d.comb += self.p.eq(Cat(*results))
        return m
