"""AXI4-Lite slave: the five channels made into one write and one read at a time.

Tested by tests/rtl/control/test_registers.py.
"""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.regmap import ADDRESS_BITS

__all__ = ["LITE_PORTS", "LiteSlave"]

OKAY = 0
LITE_PORTS = {
    "AWVALID": In(1), "AWREADY": Out(1), "AWADDR": In(ADDRESS_BITS),
    "WVALID": In(1), "WREADY": Out(1), "WDATA": In(32), "WSTRB": In(4),
    "BVALID": Out(1), "BREADY": In(1), "BRESP": Out(2),
    "ARVALID": In(1), "ARREADY": Out(1), "ARADDR": In(ADDRESS_BITS),
    "RVALID": Out(1), "RREADY": In(1), "RDATA": Out(32), "RRESP": Out(2),
}  # fmt: skip
WORD_ADDRESS_BITS = ADDRESS_BITS - 2


class LiteSlave(wiring.Component):
    """`write` (pulse) with `write_address` (of a 32-bit word), `write_data` and `write_strobe` (a bit per byte).

    `read_address` stays for READ_LATENCY cycles and one at least, `read` pulses in the last of them; `read_data` is
    taken then. One write per two cycles, one read per READ_LATENCY + 2; address and data of a write may come in any
    order. All responses are OKAY.
    """

    READ_LATENCY = 3

    def __init__(self) -> None:
        super().__init__(
            LITE_PORTS
            | {
                "write": Out(1),
                "write_address": Out(WORD_ADDRESS_BITS),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "read": Out(1),
                "read_address": Out(WORD_ADDRESS_BITS),
                "read_data": In(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._writes(m)
        self._reads(m)
        return m

    def _writes(self, m: Module) -> None:
        """Address and data wait for each other."""
        aw_held, w_held = Signal(), Signal()
        aw_addr = Signal(WORD_ADDRESS_BITS, reset_less=True)
        w_data, w_strb = Signal(32, reset_less=True), Signal(4, reset_less=True)
        m.d.comb += [
            self.AWREADY.eq(~aw_held),
            self.WREADY.eq(~w_held),
            self.BRESP.eq(OKAY),
            self.write.eq(aw_held & w_held & (~self.BVALID | self.BREADY)),
            self.write_address.eq(aw_addr),
            self.write_data.eq(w_data),
            self.write_strobe.eq(w_strb),
        ]
        with m.If(~aw_held):
            m.d.sync += [aw_held.eq(self.AWVALID), aw_addr.eq(self.AWADDR[2:])]
        with m.If(~w_held):
            m.d.sync += [w_held.eq(self.WVALID), w_data.eq(self.WDATA), w_strb.eq(self.WSTRB)]
        with m.If(self.BREADY):
            m.d.sync += self.BVALID.eq(0)
        with m.If(self.write):
            m.d.sync += [aw_held.eq(0), w_held.eq(0), self.BVALID.eq(1)]

    def _reads(self, m: Module) -> None:
        """The address is held as long as it takes to pick a word step by step."""
        ar_held, held_for = Signal(), Signal(self.READ_LATENCY)
        ar_addr, r_data = Signal(WORD_ADDRESS_BITS, reset_less=True), Signal(32, reset_less=True)
        m.d.comb += [
            self.ARREADY.eq(~ar_held),
            self.RRESP.eq(OKAY),
            self.RDATA.eq(r_data),
            self.read.eq(held_for[-1] & (~self.RVALID | self.RREADY)),
            self.read_address.eq(ar_addr),
        ]
        m.d.sync += held_for.eq(Cat(ar_held, held_for))
        with m.If(~ar_held):
            m.d.sync += [ar_held.eq(self.ARVALID), ar_addr.eq(self.ARADDR[2:])]
        with m.If(self.RREADY):
            m.d.sync += self.RVALID.eq(0)
        with m.If(self.read):
            m.d.sync += [ar_held.eq(0), held_for.eq(0), self.RVALID.eq(1), r_data.eq(self.read_data)]
