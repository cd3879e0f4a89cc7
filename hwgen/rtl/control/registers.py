"""Control registers: AXI4-Lite slave with the block-level protocol `ap_ctrl_hs`, made from `hwgen.machine.regmap`."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.params import HwParams
from hwgen.machine.regmap import ADDRESS_BITS, BY_NAME, MAGIC, REGISTERS, VERSION, Bits

__all__ = ["Control"]

BUS = "s_axi_control"
OKAY = 0
#: Registers of 32 bits from which a read picks one at first.
GROUP = 8


def _lite_ports() -> dict[str, wiring.Member]:
    ports = {"AWVALID": In(1), "AWREADY": Out(1), "AWADDR": In(ADDRESS_BITS)}
    ports |= {"WVALID": In(1), "WREADY": Out(1), "WDATA": In(32), "WSTRB": In(4)}
    ports |= {"BVALID": Out(1), "BREADY": In(1), "BRESP": Out(2)}
    ports |= {"ARVALID": In(1), "ARREADY": Out(1), "ARADDR": In(ADDRESS_BITS)}
    ports |= {"RVALID": Out(1), "RREADY": In(1), "RDATA": Out(32), "RRESP": Out(2)}
    return {f"{BUS}_{name}": member for name, member in ports.items()}


class Control(wiring.Component):
    """Registers of `hwgen.machine.regmap`. Each "rw" register is an output port, each "ro" register an input port of
    its name.

    `start` is a pulse, a cycle after `ctrl.start` is set and no run is under way. `done` (input pulse) ends the run and
    sets `ctrl.done`; `ready` (pulse, not after `done`; may be the same) uses up `ctrl.start`. `idle` (level): nothing
    runs. `interrupt` is high while an enabled event is pending. Arguments are not latched: write them only while idle.
    One write per two cycles, one read per three; address and data of a write may come in any order. All responses are
    OKAY.
    """

    def __init__(self, p: HwParams, *, build_hash: int) -> None:
        if not 0 <= build_hash < 1 << 64:
            raise ValueError(f"build_hash must fit in 64 bits, not {build_hash!r}")
        self.p, self.build_hash = p, build_hash
        super().__init__(
            _lite_ports()
            | {register.name: Out(register.bits) for register in REGISTERS if register.access == "rw"}
            | {register.name: In(register.bits) for register in REGISTERS if register.access == "ro"}
            | {"start": Out(1), "done": In(1), "idle": In(1), "ready": In(1), "interrupt": Out(1)}
        )

    def _constants(self) -> dict[str, int]:
        p = self.p
        parts = {"t": p.t, "c": p.c, "k": p.k, "gmem0": p.weight_bus, "gmem1": p.data_bus}

        def pack(fields: tuple[Bits, ...]) -> int:
            value = 0
            for field in fields:
                value |= parts[field.name] << field.lsb
            return value

        return {
            "magic": MAGIC,
            "version": VERSION,
            "shape": pack(BY_NAME["shape"].parts),
            "buses": pack(BY_NAME["buses"].parts),
            "build_hash": self.build_hash,
        }

    def _port(self, name: str) -> Signal:
        return getattr(self, f"{BUS}_{name}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self._port

        # Writes: address and data wait for each other.
        aw_held, w_held = Signal(), Signal()
        aw_addr = Signal(ADDRESS_BITS - 2, reset_less=True)
        w_data, w_strb = Signal(32, reset_less=True), Signal(4, reset_less=True)
        write = Signal()
        m.d.comb += [
            port("AWREADY").eq(~aw_held),
            port("WREADY").eq(~w_held),
            port("BRESP").eq(OKAY),
            write.eq(aw_held & w_held & (~port("BVALID") | port("BREADY"))),
        ]
        with m.If(~aw_held):
            m.d.sync += [aw_held.eq(port("AWVALID")), aw_addr.eq(port("AWADDR")[2:])]
        with m.If(~w_held):
            m.d.sync += [w_held.eq(port("WVALID")), w_data.eq(port("WDATA")), w_strb.eq(port("WSTRB"))]
        with m.If(port("BREADY")):
            m.d.sync += port("BVALID").eq(0)
        with m.If(write):
            m.d.sync += [aw_held.eq(0), w_held.eq(0), port("BVALID").eq(1)]

        # Reads: the address is held for two cycles. In the first, each group picks a word of its own, in the second the
        # group is chosen.
        ar_held, grouped = Signal(), Signal()
        ar_addr = Signal(ADDRESS_BITS - 2, reset_less=True)
        r_data = Signal(32, reset_less=True)
        read = Signal()
        m.d.comb += [
            port("ARREADY").eq(~ar_held),
            port("RRESP").eq(OKAY),
            port("RDATA").eq(r_data),
            read.eq(ar_held & grouped & (~port("RVALID") | port("RREADY"))),
        ]
        m.d.sync += grouped.eq(ar_held)
        with m.If(~ar_held):
            m.d.sync += [ar_held.eq(port("ARVALID")), ar_addr.eq(port("ARADDR")[2:])]
        with m.If(port("RREADY")):
            m.d.sync += port("RVALID").eq(0)
        with m.If(read):
            m.d.sync += [ar_held.eq(0), grouped.eq(0), port("RVALID").eq(1)]

        values: dict[str, Value] = {name: Const(value, 64) for name, value in self._constants().items()}
        protocol = self._protocol(
            m, write=write, address=aw_addr, data=w_data, strobe=w_strb, read=read, picked=ar_addr
        )
        groups: defaultdict[int, dict[int, Value]] = defaultdict(dict)
        for register in REGISTERS:
            if register.name in protocol:
                continue
            value = values[register.name] if register.name in values else getattr(self, register.name)
            for word in range(register.words):
                group, place = divmod(register.offset // 4 + word, GROUP)
                groups[group][place] = value[32 * word :][:32]
        # At most one of these is not zero.
        shown: list[Value] = []

        def show(name: str, meant: Value, value: Value) -> None:
            chosen = Signal(name=f"{name}_meant")
            m.d.sync += chosen.eq(meant)
            shown.append(Mux(chosen, value, 0))

        place_bits = exact_log2(GROUP)
        for group, words in groups.items():
            picked = Signal(32, name=f"group{group}", reset_less=True)
            m.d.sync += picked.eq(0)
            with m.Switch(ar_addr[:place_bits]):
                for place, value in words.items():
                    with m.Case(place):
                        m.d.sync += picked.eq(value)
            show(f"group{group}", ar_addr[place_bits:] == group, picked)
        for name, value in protocol.items():
            # In the cycle of the read itself: it clears what it shows.
            show(name, ar_addr == BY_NAME[name].offset // 4, value)
        with m.If(read):
            m.d.sync += r_data.eq(reduce(or_, shown))
        with m.If(write), m.Switch(aw_addr):
            for register in REGISTERS:
                if register.access != "rw":
                    continue
                for word in range(register.words):
                    with m.Case(register.offset // 4 + word):
                        target = getattr(self, register.name)[32 * word :][:32]
                        for byte in range(4):
                            with m.If(w_strb[byte]):
                                m.d.sync += target.word_select(byte, 8).eq(w_data.word_select(byte, 8))
        return m

    def _protocol(
        self, m: Module, *, write: Signal, address: Signal, data: Signal, strobe: Signal, read: Signal, picked: Signal
    ) -> dict[str, Value]:
        """ap_ctrl_hs: behaviour of the first four registers; returns what they read as."""
        written = {}
        for name in ("ctrl", "gie", "ier", "isr"):
            written[name] = Signal(name=f"write_{name}")
            m.d.comb += written[name].eq(write & strobe[0] & (address == BY_NAME[name].offset // 4))
        ctrl_read = Signal()
        m.d.comb += ctrl_read.eq(read & (picked == BY_NAME["ctrl"].offset // 4))

        bit = {part.name: part.lsb for part in BY_NAME["ctrl"].parts}
        started, done, ready, auto_restart, running = Signal(), Signal(), Signal(), Signal(), Signal()
        with m.If(self.ready):
            m.d.sync += started.eq(auto_restart)
        with m.If(written["ctrl"]):
            m.d.sync += auto_restart.eq(data[bit["auto_restart"]])
            with m.If(data[bit["start"]]):
                m.d.sync += started.eq(1)
        # An event in the very cycle of the read is kept for the next read.
        with m.If(ctrl_read):
            m.d.sync += [done.eq(0), ready.eq(0)]
        with m.If(self.done):
            m.d.sync += [done.eq(1), running.eq(0)]
        with m.If(self.ready):
            m.d.sync += ready.eq(1)
        begin = started & ~running & self.idle
        m.d.sync += self.start.eq(begin)
        with m.If(begin):
            m.d.sync += running.eq(1)

        enable, enables, status = Signal(), Signal(2), Signal(2)
        with m.If(written["gie"]):
            m.d.sync += enable.eq(data[0])
        with m.If(written["ier"]):
            m.d.sync += enables.eq(data)
        events = enables & Cat(self.done, self.ready)
        m.d.sync += [
            status.eq((status ^ Mux(written["isr"], data[:2], 0)) | events),
            self.interrupt.eq(enable & status.any()),
        ]

        ctrl = Signal(32)
        m.d.comb += [
            ctrl[bit["start"]].eq(started),
            ctrl[bit["done"]].eq(done),
            ctrl[bit["idle"]].eq(self.idle & ~started & ~running),
            ctrl[bit["ready"]].eq(ready),
            ctrl[bit["auto_restart"]].eq(auto_restart),
        ]
        return {"ctrl": ctrl, "gie": enable, "ier": enables, "isr": status}
