"""2^-u from a table and a rounding shift: the exponent of both softmaxes."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.tables import EXP
from hwgen.rtl.arithmetic.rounding import rounded_shift

__all__ = ["ExponentRow", "lookup"]


def lookup(table: Sequence[int], index: Value) -> Value:
    """`table[index]` as logic, a bit at a time: each bit of a table of 32 is one LUT."""
    width = max(table).bit_length()
    columns = [sum((entry >> bit & 1) << row for row, entry in enumerate(table)) for bit in range(width)]
    return Cat(*(Const(column, len(table)).bit_select(index, 1) for column in columns))


class ExponentRow(wiring.Component):
    """p = rshift(EXP[u & 31], u >> 5) with u = maximum - score, for `k` scores of one row.

    In: `maximum` (int16), `scores` k×int16, `mask` k (0: the score is ignored, p = 0). Out, LATENCY later: `p` k×uint8.
    An unmasked score must not exceed `maximum`. No stalls, all may change every cycle.
    """

    LATENCY = 3

    def __init__(self, *, k: int) -> None:
        self.k = k
        super().__init__({"maximum": In(16), "scores": In(16 * k), "mask": In(k), "p": Out(8 * k)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        results = []
        for lane in range(self.k):
            # Both are int16, so the non-negative difference of an unmasked score is exact modulo 2^16.
            u = Signal(16, name=f"u{lane}", reset_less=True)
            live = Signal(name=f"live{lane}", reset_less=True)
            value = Signal(8, name=f"value{lane}", reset_less=True)
            amount = Signal(4, name=f"amount{lane}", reset_less=True)
            below_16 = Signal(name=f"below_16_{lane}", reset_less=True)
            p = Signal(8, name=f"p{lane}", reset_less=True)
            m.d.sync += [
                u.eq(self.maximum - self.scores.word_select(lane, 16)),
                live.eq(self.mask[lane]),
                value.eq(lookup(EXP, u[:5])),
                amount.eq(u[5:9]),
                below_16.eq(live & ~u[9:].any()),
                p.eq(rounded_shift(m, value, amount, f"doubled{lane}") & below_16.replicate(8)),
            ]
            results.append(p)
        m.d.comb += self.p.eq(Cat(*results))
        return m
