"""Instruction fields of a 512-bit word by name, from the one table in `hwgen.machine.isa`; and a register chain."""

from __future__ import annotations

from amaranth import Const, Module, Signal, Value
from amaranth.hdl import ValueLike

from hwgen.machine.isa import BY_NAME, BYTES

__all__ = ["INSTRUCTION_BITS", "Fields", "delayed"]

INSTRUCTION_BITS = 8 * BYTES


class Fields:
    """`Fields(word).row_end` is the slice of `word` that holds the field `row_end`."""

    def __init__(self, word: Value) -> None:
        self._word = word

    def __getattr__(self, name: str) -> Value:
        try:
            field = BY_NAME[name]
        except KeyError:
            raise AttributeError(f"no instruction field {name!r}") from None
        return self._word[field.offset : field.offset + field.bits]


def delayed(m: Module, value: ValueLike, cycles: int, *, reset: bool = False) -> Value:
    """`value`, `cycles` registers later; `reset` for valid bits, data needs none."""
    current = Value.cast(value)
    if len(current) == 0:
        return Const(0)
    for _ in range(cycles):
        register = Signal(current.shape(), reset_less=not reset)
        m.d.sync += register.eq(current)
        current = register
    return current
