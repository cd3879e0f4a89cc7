"""64-bit DRAM addresses without 64-bit carry chains."""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value

__all__ = ["ADDRESS_LATENCY", "byte_address"]

#: Cycles until `byte_address` holds the sum of inputs that do not change.
ADDRESS_LATENCY = 2


def byte_address(m: Module, base: Value, offset: Value) -> Value:
    """base (64 bits) + offset (up to 34 bits), half by half: the upper half a cycle after the lower."""
    low, high = Signal(33, reset_less=True), Signal(32, reset_less=True)
    m.d.sync += [low.eq(base[:32] + offset[:32]), high.eq(base[32:] + offset[32:] + low[32])]
    return Cat(low[:32], high)
