"""floor(2^n / den): a pipelined divider for the softmax and a serial one for the router, radix 4."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

__all__ = ["Divider", "SerialDivider", "divider_latency"]


def divider_latency(quotient_bits: int) -> int:
    """Cycles of both dividers: the multiples of the divisor (and an odd top bit), then two quotient bits each."""
    return 1 + quotient_bits // 2


def _first_bit(m: Module, den: Value, numerator: int, quotient_bits: int) -> tuple[Value, Value]:
    """Top quotient bit (0 when their number is even) and the remainder before the first radix-4 digit."""
    start = 1 << (numerator - quotient_bits // 2 * 2)
    if quotient_bits % 2 == 0:
        # The quotient's digits start where the remainder is smaller than any legal divisor.
        return Value.cast(0), Value.cast(start)
    difference = Signal(signed(max(len(den), bits_for(start)) + 1), name="first_difference")
    m.d.comb += difference.eq(start - den)
    return ~difference[-1], Mux(difference[-1], start, difference[:-1])


def _digit(m: Module, rem: Value, den: Value, triple: Value, name: str) -> tuple[Value, Value]:
    """Next radix-4 digit and remainder; `rem < den`. The subtractions are side by side, their signs choose."""
    shifted = Cat(0, 0, rem)
    left = []
    for index, multiple in enumerate((den, Cat(0, den), triple), start=1):
        difference = Signal(signed(len(den) + 3), name=f"{name}_{index}")
        m.d.comb += difference.eq(shifted - multiple)
        left.append(difference)
    below = [difference[-1] for difference in left]
    digit = Cat(~below[2] | (~below[0] & below[1]), ~below[1])
    rest = Mux(below[0], shifted, Mux(below[1], left[0], Mux(below[2], left[1], left[2])))
    return digit, rest


class Divider(wiring.Component):
    """One quotient floor(2^numerator / den) per cycle.

    `valid`, `den` in; `out_valid`, `quotient` `latency` cycles later. The true quotient must fit in `quotient_bits`,
    so den > 2^(numerator - quotient_bits); for smaller ones (0 too) the quotient is undefined.
    """

    def __init__(self, *, numerator: int, quotient_bits: int, den_bits: int) -> None:
        self.numerator, self.quotient_bits, self.den_bits = numerator, quotient_bits, den_bits
        self.latency = divider_latency(quotient_bits)
        super().__init__({"valid": In(1), "den": In(den_bits), "out_valid": Out(1), "quotient": Out(quotient_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid: Value = self.valid
        den: Value = self.den
        triple: Value = self.den
        quotient, rem = _first_bit(m, self.den, self.numerator, self.quotient_bits)
        for stage in range(self.latency):
            if stage:
                digit, rem = _digit(m, rem, den, triple, f"stage{stage}")
                quotient = Cat(digit, quotient)
            next_valid = Signal(name=f"valid{stage}")
            next_den = Signal(self.den_bits, name=f"den{stage}", reset_less=True)
            next_triple = Signal(self.den_bits + 2, name=f"triple{stage}", reset_less=True)
            next_rem = Signal(self.den_bits, name=f"rem{stage}", reset_less=True)
            next_quotient = Signal(self.quotient_bits % 2 + 2 * stage, name=f"quotient{stage}", reset_less=True)
            m.d.sync += [
                next_valid.eq(valid),
                next_den.eq(den),
                next_triple.eq(triple if stage else den + Cat(0, den)),
                next_rem.eq(rem),
                next_quotient.eq(quotient),
            ]
            valid, den, triple, rem, quotient = next_valid, next_den, next_triple, next_rem, next_quotient
        m.d.comb += [self.out_valid.eq(valid), self.quotient.eq(quotient)]
        return m


class SerialDivider(wiring.Component):
    """One quotient floor(2^numerator / den) at a time; limits of `den` as for `Divider`.

    `start` (pulse) takes `den`; `latency` cycles later `done` is high for one cycle. `quotient` holds from then until
    the next `start`. A `start` while a division runs abandons that division.
    """

    def __init__(self, *, numerator: int, quotient_bits: int, den_bits: int) -> None:
        self.numerator, self.quotient_bits, self.den_bits = numerator, quotient_bits, den_bits
        self.latency = divider_latency(quotient_bits)
        super().__init__({"start": In(1), "den": In(den_bits), "done": Out(1), "quotient": Out(quotient_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = self.latency - 1
        pending = Signal(range(steps + 1))
        den = Signal(self.den_bits, reset_less=True)
        triple = Signal(self.den_bits + 2, reset_less=True)
        rem = Signal(self.den_bits, reset_less=True)
        quotient = Signal(self.quotient_bits, reset_less=True)
        first, first_rem = _first_bit(m, self.den, self.numerator, self.quotient_bits)
        digit, next_rem = _digit(m, rem, den, triple, "step")
        m.d.comb += self.quotient.eq(quotient)
        m.d.sync += self.done.eq((pending == 1) & ~self.start)
        with m.If(self.start):
            m.d.sync += [
                pending.eq(steps),
                den.eq(self.den),
                triple.eq(self.den + Cat(0, self.den)),
                rem.eq(first_rem),
                quotient.eq(first),
            ]
        with m.Elif(pending != 0):
            m.d.sync += [pending.eq(pending - 1), rem.eq(next_rem), quotient.eq(Cat(digit, quotient))]
        return m
