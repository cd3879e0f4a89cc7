"""The only memory primitive: a simple dual-port RAM, a hand-written Verilog leaf (`templates/rtl/hwgen_ram.v`)."""

from __future__ import annotations

from amaranth import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Ram", "select_bits"]


def select_bits(choices: int) -> int:
    """Bits to tell `choices` things apart, at least one: a port of no bits would be `[-1:0]` in Verilog."""
    return max(1, ceil_log2(choices))


class Ram(wiring.Component):
    """One write port with `grain`-bit enables, one read port; contents are undefined until written.

    Reading the address written in the same cycle gives anything (in simulation the complement of the old word), as the
    old one would cost a comparison of addresses around every block RAM. `r_data` holds while `r_en` is low.
    """

    LATENCY = 1

    def __init__(self, *, width: int, depth: int, grain: int | None = None) -> None:
        self.width, self.depth, self.grain = width, max(depth, 2), grain or width
        if width % self.grain:
            raise ValueError(f"RAM width {width} must be a multiple of the write grain {self.grain}")
        abits = ceil_log2(self.depth)
        super().__init__(
            {
                "w_en": In(width // self.grain),
                "w_addr": In(abits),
                "w_data": In(width),
                "r_en": In(1),
                "r_addr": In(abits),
                "r_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = Instance(
            "hwgen_ram",
            p_WIDTH=self.width,
            p_DEPTH=self.depth,
            p_GRAIN=self.grain,
            p_ABITS=ceil_log2(self.depth),
            i_clk=ClockSignal(),
            i_w_en=self.w_en,
            i_w_addr=self.w_addr,
            i_w_data=self.w_data,
            i_r_en=self.r_en,
            i_r_addr=self.r_addr,
            o_r_data=self.r_data,
        )
        return m
