"""Weights packed two to a byte in DRAM become bytes on their way into the ring."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import BY_NAME
from hwgen.machine.params import HwParams
from hwgen.rtl.common.ram import select_bits

__all__ = ["STEPS_BITS", "Widener"]

STEPS_BITS = BY_NAME["k_steps"].bits


class Widener(wiring.Component):
    """Pieces of the weight stream → writes of ring words, of `parts` pieces each (`p.piece_bytes`).

    Without `in_narrow` a piece is the next part of a word. With it that holds for the parameter words in front of each
    tile; a piece of the tile's `in_k_steps` weight words has two parts packed in it, byte i of the first in the low
    nibble of its byte i, of the second in the high one. Both are written at once when they belong to one word (`parts`
    > 1), else one after the other; the second word of a tile's last pair is dropped if `in_k_steps` is odd.

    A write: `out_valid`, `out_ready`; part i of the word gets half i % 2 of `out_data` if bit i of `out_parts` is set
    (with `parts` = 1, `out_data`); `out_complete` with a word's last part. No registers between in and out; what comes
    in stays until `in_ready`. `clear`: the next piece is the first of a command.
    """

    def __init__(self, p: HwParams) -> None:
        self.param_words, self.parts, self.piece_bits = p.param_words, p.ring_bytes // p.piece_bytes, 8 * p.piece_bytes
        super().__init__(
            {
                "clear": In(1),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(self.piece_bits),
                "in_narrow": In(1),
                "in_k_steps": In(STEPS_BITS),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(min(2, self.parts) * self.piece_bits),
                "out_parts": Out(self.parts),
                "out_complete": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        packed = self._packed(m)
        write = Signal()
        m.d.comb += [self.out_valid.eq(self.in_valid), write.eq(self.in_valid & self.out_ready)]
        (low, high), whole = self._nibbles(), self.in_data
        if self.parts == 1:
            second = Signal()  # word of a pair; needs no `clear`, parameters come first
            m.d.comb += [
                self.out_data.eq(Mux(packed, Mux(second, high, low), whole)),
                self.out_parts.eq(1),
                self.out_complete.eq(1),
                self.in_ready.eq(self.out_ready & (~packed | second | self.ending)),
            ]
            with m.If(write):
                m.d.sync += second.eq(packed & ~second & ~self.ending)
        else:
            part = Signal(select_bits(self.parts))
            m.d.comb += [
                self.out_data.eq(Cat(Mux(packed, low, whole), Mux(packed, high, whole))),
                self.out_parts.eq(Cat(1, packed) << part),
                self.out_complete.eq((part | packed) == self.parts - 1),
                self.in_ready.eq(self.out_ready),
            ]
            with m.If(write):
                m.d.sync += part.eq(part + Cat(~packed, packed))
            with m.If(self.clear):
                m.d.sync += part.eq(0)
        return m

    def _nibbles(self) -> tuple[Value, Value]:
        """The low and the high nibbles of the piece as signed bytes."""
        low, high = ([self.in_data[bit : bit + 4] for bit in range(at, self.piece_bits, 8)] for at in (0, 4))
        return Cat(Cat(n, n[3].replicate(4)) for n in low), Cat(Cat(n, n[3].replicate(4)) for n in high)

    def _packed(self, m: Module) -> Value:
        """Whether the piece is packed. Counts the words of narrow tiles; `ending`: the last one of a kind."""
        weights, left = Signal(), Signal(STEPS_BITS, init=self.param_words)
        self.ending = Signal(init=self.param_words == 1)
        with m.If(self.out_valid & self.out_ready & self.out_complete & self.in_narrow):
            m.d.sync += [left.eq(left - 1), self.ending.eq(left == 2)]
            with m.If(self.ending):
                m.d.sync += [
                    weights.eq(~weights),
                    left.eq(Mux(weights, self.param_words, self.in_k_steps)),
                    self.ending.eq(Mux(weights, self.param_words == 1, self.in_k_steps == 1)),
                ]
        with m.If(self.clear):
            m.d.sync += [weights.eq(0), left.eq(self.param_words), self.ending.eq(self.param_words == 1)]
        return self.in_narrow & weights
