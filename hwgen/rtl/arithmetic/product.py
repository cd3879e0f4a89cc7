"""Products wider than a multiplier, in pieces."""

from __future__ import annotations

from amaranth import Module, Shape, Signal, Value

__all__ = ["PRODUCT_LATENCY", "product"]

PRODUCT_LATENCY = 2
#: Bits of a multiplier's narrower operand; that of the wider one is `HwParams.multiplier_bits`.
NARROW = 18


def product(m: Module, a: Value, b: Value, *, wide: int, name: str) -> Signal:
    """`a * b` PRODUCT_LATENCY cycles later, of signed multipliers of `wide` x 18 bits: `a` and `b` in pieces that fit,
    a register behind each multiplier and one behind their sum."""
    total: Value | None = None
    for i, (low, left) in enumerate(_pieces(a, wide)):
        for j, (also, right) in enumerate(_pieces(b, NARROW)):
            part = Signal((left * right).shape(), name=f"{name}_{i}_{j}", reset_less=True)
            m.d.sync += part.eq(left * right)
            total = part << low + also if total is None else total + (part << low + also)
    assert total is not None
    result = Signal(Shape(len(a) + len(b), a.shape().signed or b.shape().signed), name=name, reset_less=True)
    m.d.sync += result.eq(total)
    return result


def _pieces(value: Value, bits: int) -> list[tuple[int, Value]]:
    """(lowest bit, piece): all but the highest are unsigned and a bit shorter than a signed operand."""
    signed, pieces, low = value.shape().signed, [], 0
    while len(value) - low > (bits if signed else bits - 1):
        pieces.append((low, value[low : low + bits - 1]))
        low += bits - 1
    rest = value[low:]
    return [*pieces, (low, rest.as_signed() if signed else rest)]
