"""What benches share: a part's ports, its reset, and words of many values or of fields."""

from __future__ import annotations

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


class Ports:
    """Handles `prefix + name` of a design; only what the bench wrote is remembered, reads are from the design."""

    def __init__(self, dut, prefix=""):
        self.dut, self.prefix = dut, prefix

    def has(self, name):
        return hasattr(self.dut, self.prefix + name)

    def get(self, name):
        return int(getattr(self.dut, self.prefix + name).value)

    def set(self, **values):
        for name, value in values.items():
            getattr(self.dut, self.prefix + name).value = value


async def reset(dut, *ports, **zeros):
    """Start the clock, zero those of the inputs named that there are, hold `rst` for three cycles."""
    Clock(dut.clk, 10, "ns").start()
    for port in ports:
        port.set(**{name: value for name, value in zeros.items() if port.has(name)})
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


def pack(values, bits):
    """A word of values side by side, the first one lowest."""
    return sum((int(value) & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))


def pack_fields(values, fields):
    """A word of named values; `fields` are pairs of name and bits, the first one lowest."""
    word, at = 0, 0
    for name, bits in fields:
        word |= values[name] << at
        at += bits
    return word


def unpack_fields(word, fields):
    """Named values of a word, as of `pack_fields`."""
    values = {}
    for name, bits in fields:
        values[name] = word & ((1 << bits) - 1)
        word >>= bits
    return values


def noise(rng, bits):
    """Random bits."""
    return int.from_bytes(rng.bytes(-(-bits // 8)), "little") & ((1 << bits) - 1)
