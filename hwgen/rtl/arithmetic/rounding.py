"""The rounding shifts of docs/numerics.md as logic."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value

__all__ = ["rounded_shift", "saturated_half"]


def rounded_shift(m: Module, value: Value, amount: Value, name: str) -> Value:
    """`rshift` for an unsigned value; any amount, the result is as wide as the value."""
    doubled = Signal(len(value) + 1, name=name)
    m.d.comb += doubled.eq(Cat(0, value) >> amount)
    return doubled[1:] + doubled[0]


def saturated_half(m: Module, doubled: Value, bits: int, name: str, *, symmetric: bool = False) -> Value:
    """The last step of a signed `rshift`, `(doubled + 1) >> 1`, saturated to `bits`, `symmetric`: with the same
    magnitude on both sides.

    The increment and the range check are side by side: what is in range may still roll over, which its sign shows.
    """
    half, sign = doubled[1:], doubled[-1]
    rounded = Signal(bits, name=name)
    m.d.comb += rounded.eq(half[:bits] + doubled[0])
    above = half[bits - 1 :]
    beyond = above.any() & ~above.all()
    rolled = ~above[0] & rounded[-1]
    bound: Value = Cat((~sign).replicate(bits - 1), sign)
    if symmetric:
        beyond |= sign & ~doubled[:bits].any()
        bound |= 1
    return Mux(beyond | rolled, bound, rounded).as_signed()
