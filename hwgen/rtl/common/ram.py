"""The only memory primitive: a simple dual-port RAM, a hand-written Verilog leaf (`templates/rtl/hwgen_ram.v.j2`)."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["LEAF", "Ram", "Target", "block_rams", "leaf", "ram_style", "select_bits", "ultra_rams"]

#: Module of a RAM of style `auto`; of the others: `leaf`.
LEAF = "hwgen_ram"
#: Words of the smallest LUT RAM among FPGA families (ECP5, Nexus), bits that are no waste of a block RAM in any.
SHALLOW, LARGE = 16, 4096
#: (words, bits) that a block RAM of 36 Kbit can have, of UltraRAM.
BLOCK, ULTRA = ((512, 72), (1024, 36), (2048, 18), (4096, 9)), (4096, 72)
#: An UltraRAM is worth so many block RAMs: devices have two to three times as many of these.
WORTH = 4


@dataclass(frozen=True)
class Target:
    """What a component is generated for: Amaranth hands it to all `elaborate`s as `platform`."""

    ultra_ram: bool = False  #: the FPGA has UltraRAM


def block_rams(width: int, depth: int) -> int:
    """Block RAMs of 36 Kbit side by side and below each other, of the best shape."""
    return min(-(-width // bits) * -(-depth // words) for words, bits in BLOCK)


def ultra_rams(width: int, depth: int) -> int:
    words, bits = ULTRA
    return -(-width // bits) * -(-depth // words)


def ram_style(width: int, depth: int, grain: int, *, ultra_ram: bool) -> str:
    """What it is to be built of: auto (the tool decides), distributed, block or ultra.

    UltraRAM has write enables for bytes of 8 or 9 bits, so only for grains that are made of such.
    """
    writable = grain == width or grain % 8 == 0 or grain % 9 == 0
    if ultra_ram and writable and block_rams(width, depth) >= WORTH * ultra_rams(width, depth):
        return "ultra"
    if depth <= SHALLOW:
        return "distributed"
    return "block" if depth > 4 * SHALLOW and width * depth >= LARGE else "auto"


def leaf(style: str) -> str:
    return LEAF if style == "auto" else f"{LEAF}_{style}"


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
        ultra_ram = isinstance(platform, Target) and platform.ultra_ram
        m.submodules.ram = Instance(
            leaf(ram_style(self.width, self.depth, self.grain, ultra_ram=ultra_ram)),
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
