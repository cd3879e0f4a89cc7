"""Bursts: byte ranges cut so that no burst crosses 4 KiB.

Tested by tests/rtl/memory/test_axi.py.
"""

from __future__ import annotations

from amaranth import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.interfaces import max_beats

__all__ = ["ADDRESS_BITS", "BYTES_BITS", "BurstSplitter", "incremented"]

ADDRESS_BITS = 64
BYTES_BITS = 32  #: of a command's length


def incremented(value: Value, piece: int = 16) -> Value:
    """`value` + 1, wrapping, in pieces of so many bits that know by themselves whether a carry comes in.

    For addresses and counters so wide that one carry chain would be the longest path of all.
    """
    parts = [value[start : start + piece] for start in range(0, len(value), piece)]
    carries = [value[:start].all() for start in range(0, len(value), piece)]
    return Cat(Mux(carry, (part + 1)[: len(part)], part) for part, carry in zip(parts, carries, strict=True))


class BurstSplitter(wiring.Component):
    """Commands (`cmd_*`) → bursts: `address` in bytes, `length` = beats - 1, `tag`, `final` (last of the command).

    Bursts end at multiples of `max_burst` beats (at most 4 KiB), so no burst crosses 4 KiB and one comparison suffices.
    One burst per cycle, and a cycle between commands. `stop` (level) drops the command in work and takes no new one.
    `cmd_bytes` must not be 0; `cmd_address` must be a multiple of the beat (the low bits are ignored).
    """

    def __init__(self, *, data_bits: int, max_burst: int, tag_bits: int) -> None:
        if not 1 <= max_burst <= 256 or max_burst & (max_burst - 1):
            raise ValueError(f"max_burst must be a power of two from 1 to 256, not {max_burst!r}")
        self.beat_bytes, self.max_beats = data_bits // 8, max_beats(max_burst, data_bits)
        super().__init__(
            {
                "stop": In(1),
                "cmd_valid": In(1),
                "cmd_ready": Out(1),
                "cmd_address": In(ADDRESS_BITS),
                "cmd_bytes": In(BYTES_BITS),
                "cmd_tag": In(max(tag_bits, 1)),  # no zero-width ports: they become [-1:0] in Verilog
                "busy": Out(1),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(ADDRESS_BITS),
                "length": Out(8),
                "tag": Out(max(tag_bits, 1)),
                "final": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = exact_log2(self.beat_bytes)
        low_bits = exact_log2(self.max_beats)
        beat_address = Signal(ADDRESS_BITS - shift, reset_less=True)
        # Beats from the boundary below `beat_address` to the end of the command: whole * max_beats + carry * max_beats
        # + rest. The carry of a command's low bits is used up as a burst of its own, so no sum is wider than they are.
        whole = Signal(BYTES_BITS - shift - low_bits, reset_less=True)
        carry, rest = Signal(reset_less=True), Signal(low_bits, reset_less=True)
        below = beat_address[:low_bits]
        low_bytes = Cat(C(-1, shift), self.cmd_address[shift : shift + low_bits]) + self.cmd_bytes[: shift + low_bits]
        m.d.comb += [
            self.final.eq(~whole[1:].any() & Mux(rest.any(), ~(whole[0] | carry), ~(whole[0] & carry))),
            self.valid.eq(self.busy & ~self.stop),
            self.address.eq(Cat(C(0, shift), beat_address)),
            # Modulo max_beats: up to the boundary, or to the end.
            self.length.eq((Mux(self.final, rest, 0) + ~below)[:low_bits]),
            self.cmd_ready.eq(~self.stop & ~self.busy),  # not in a command's last cycle: it is known late
        ]
        # `cmd_valid`, `stop` and `final` come late: they decide on `busy` alone, without which the rest has no meaning.
        with m.If(~self.busy):
            m.d.sync += [
                beat_address.eq(self.cmd_address[shift:]),
                Cat(rest, carry).eq(low_bytes[shift:]),
                whole.eq(self.cmd_bytes[shift + low_bits :]),
                self.tag.eq(self.cmd_tag),
                self.busy.eq(self.cmd_valid),
            ]
        with m.Elif(self.ready):
            m.d.sync += [
                beat_address.eq(Cat(C(0, low_bits), incremented(beat_address[low_bits:]))),
                carry.eq(0),
                self.busy.eq(~self.final),
            ]
            with m.If(~carry):
                m.d.sync += whole.eq(whole - 1)
        with m.If(self.stop):
            m.d.sync += self.busy.eq(0)
        return m
