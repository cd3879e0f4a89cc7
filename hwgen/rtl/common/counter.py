"""Counters for the performance registers."""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value

__all__ = ["saturating_counter"]


def saturating_counter(m: Module, *, bits: int, clear: Value, amount: Value, name: str) -> Value:
    """The sum of `amount` over all cycles since `clear`, that one not counted, three cycles late.

    In two halves, the upper one a cycle behind: no long carry chain. Both are shown as of the same cycle, so that the
    count may be read while it runs. It stops within two amounts of its maximum.
    """
    half, margin = bits // 2, len(amount) + 1
    if margin >= half:
        raise ValueError(f"an amount of {len(amount)} bits is too wide for a counter of {bits}")
    added = Signal(len(amount), name=f"{name}_amount")
    low, high = Signal(half, name=f"{name}_low"), Signal(bits - half, name=f"{name}_high")
    carry, full = Signal(name=f"{name}_carry"), Signal(name=f"{name}_full")
    cleared = Signal(name=f"{name}_cleared")  # `clear` has much to clear: from a register
    total = Signal(half + 1, name=f"{name}_total")
    m.d.comb += total.eq(low + added)
    m.d.sync += [cleared.eq(clear), added.eq(amount)]
    m.d.sync += [carry.eq(total[half] & ~full), full.eq(high.all() & low[margin:].all())]
    with m.If(~full):
        m.d.sync += low.eq(total)
    m.d.sync += high.eq(high + carry)
    shown = Signal(half, name=f"{name}_shown")
    m.d.sync += shown.eq(low)
    with m.If(cleared):
        m.d.sync += [low.eq(0), high.eq(0), carry.eq(0), full.eq(0), shown.eq(0)]
    return Cat(shown, high)
