"""Reciprocal square root of LayerNorm's V: normalisation, table look-up, one Newton step."""

from __future__ import annotations

from amaranth import Array, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.tables import RSQRT
from hwgen.rtl.arithmetic.product import PRODUCT_LATENCY, product

__all__ = ["Rsqrt"]


class Rsqrt(wiring.Component):
    """`y1` and half the even leading-zero count of V in 1 <= V < 2^52 (see `docs/numerics.md`), one V per cycle.

    LATENCY cycles after `valid` and `v`: `out_valid`, `y1`, `half_lz` (0..25). V = 0 is illegal and gives garbage.
    The specification has 17 bits for y1; over all 2^18 - 2^16 values of m it never exceeds Y1_MAX, so 16 bits hold it.
    """

    V_BITS = 52
    Y1_MAX = 65513
    STEPS = (16, 8, 4, 2, 1)  # pairs of leading zeros removed by each stage
    LATENCY = len(STEPS) + 3 + 2 * PRODUCT_LATENCY

    def __init__(self, *, multiplier_bits: int = 27) -> None:
        self.multiplier_bits = multiplier_bits
        super().__init__(
            {
                "valid": In(1),
                "v": In(self.V_BITS),
                "out_valid": Out(1),
                "y1": Out(16),
                "half_lz": Out(5),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        value, count = self.v, Const(0, 5)
        for pairs in self.STEPS:
            shifted = Signal(self.V_BITS, reset_less=True, name=f"normal_{pairs}")
            counted = Signal(5, reset_less=True, name=f"count_{pairs}")
            zero = Signal(name=f"zero_{pairs}")
            m.d.comb += zero.eq(value[self.V_BITS - 2 * pairs :] == 0)
            m.d.sync += [shifted.eq(value), counted.eq(count)]
            with m.If(zero):
                m.d.sync += [shifted.eq(value << 2 * pairs), counted.eq(count + pairs)]
            value, count = shifted, counted

        def delayed(signal: Signal, cycles: int, name: str) -> Signal:
            for i in range(cycles):
                copy = Signal(signal.shape(), reset_less=True, name=f"{name}_{i}")
                m.d.sync += copy.eq(signal)
                signal = copy
            return signal

        mantissa = Signal(18)
        m.d.comb += mantissa.eq(value[34:])
        y0 = Signal(16, reset_less=True)
        square = Signal(32, reset_less=True)
        bracket = Signal(18, reset_less=True)
        wide = self.multiplier_bits
        scaled = product(m, delayed(mantissa, 2, "mantissa"), square[16:], wide=wide, name="scaled")
        m.d.sync += [
            y0.eq(Array([Const(entry, 16) for entry in RSQRT])[value[46:]]),
            square.eq(y0 * y0),
            bracket.eq((3 << 16) - scaled[16:]),
        ]
        y1 = product(m, bracket, delayed(y0, 2 + PRODUCT_LATENCY, "y0"), wide=wide, name="newton")
        valid = Signal(self.LATENCY)
        m.d.sync += valid.eq(valid << 1 | self.valid)
        m.d.comb += [
            self.y1.eq(y1[17:]),
            self.half_lz.eq(delayed(count, self.LATENCY - len(self.STEPS), "half_lz")),
            self.out_valid.eq(valid[-1]),
        ]
        return m
