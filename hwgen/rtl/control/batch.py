"""Batch: which image the program is at, and how far its input and output have moved.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Batch"]


class Batch(wiring.Component):
    """`begin` (pulse) starts with the first image, `advance` (pulse) goes on to the next one.

    `*_offset` is what a region has moved by, two cycles later. Beyond 32 bits it lies outside every region: it is
    enough to remember that, in bit 32. `last` (level, a cycle late): no image of `batch` follows; 0 counts as 1.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "begin": In(1),
                "advance": In(1),
                "batch": In(32),
                "input_stride": In(32),
                "output_stride": In(32),
                "input_offset": Out(33),
                "output_offset": Out(33),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        image = Signal(32)  # from 1 on
        moving = Signal()
        m.d.sync += [self.last.eq(image >= self.batch), moving.eq(self.advance)]
        with m.If(self.advance):
            m.d.sync += image.eq(image + 1)
        with m.If(self.begin):
            m.d.sync += image.eq(1)
        for name in ("input", "output"):
            offset, stride = getattr(self, f"{name}_offset"), getattr(self, f"{name}_stride")
            total = Signal(34, name=f"{name}_total")
            m.d.comb += total.eq(offset[:32] + stride)
            with m.If(moving):
                m.d.sync += offset.eq(total | (offset[32] << 32))
            with m.If(self.begin):
                m.d.sync += offset.eq(0)
        return m
