"""Control registers: AXI4-Lite slave with the block-level protocol `ap_ctrl_hs`, made from `hwgen.machine.regmap`."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import or_

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.params import HwParams
from hwgen.machine.regmap import BY_NAME, MAGIC, VERSION, Bits, registers
from hwgen.rtl.control.lite import LITE_PORTS, LiteSlave
from hwgen.rtl.control.protocol import PROTOCOL, BlockProtocol

__all__ = ["Control"]

BUS = "s_axi_control"
#: Registers of 32 bits from which a read picks one at first.
GROUP = 8


class Control(wiring.Component):
    """Registers of `hwgen.machine.regmap` that the accelerator has. Each "rw" register is an output port, each "ro"
    register an input port of its name.

    `start` is a pulse, a cycle after `ctrl.start` is set and no run is under way. `done` (input pulse) ends the run and
    sets `ctrl.done`; `ready` (pulse, not after `done`; may be the same) uses up `ctrl.start`. `idle` (level): nothing
    runs. `interrupt` is high while an enabled event is pending. Arguments are not latched: write them only while idle.
    One write per two cycles, one read per three; address and data of a write may come in any order. All responses are
    OKAY.
    """

    def __init__(self, p: HwParams, *, build_hash: int) -> None:
        if not 0 <= build_hash < 1 << 64:
            raise ValueError(f"build_hash must fit in 64 bits, not {build_hash!r}")
        self.p, self.build_hash, self.registers = p, build_hash, registers(p)
        super().__init__(
            {f"{BUS}_{name}": member for name, member in LITE_PORTS.items()}
            | {register.name: Out(register.bits) for register in self.registers if register.access == "rw"}
            | {register.name: In(register.bits) for register in self.registers if register.access == "ro"}
            | {"start": Out(1), "done": In(1), "idle": In(1), "ready": In(1), "interrupt": Out(1)}
        )

    def _constants(self) -> dict[str, int]:
        p = self.p
        parts = {"t": p.t, "c": p.c, "k": p.k}
        parts |= {"gmem0": p.port_bits, "weight_ports": p.weight_ports, "gmem1": p.data_bus}

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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bus = bus = LiteSlave()
        m.submodules.protocol = protocol = BlockProtocol()
        for name, member in LITE_PORTS.items():
            outer, inner = getattr(self, f"{BUS}_{name}"), getattr(bus, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        self._connect(m, protocol, bus)
        self._reads(m, protocol, bus)
        with m.If(bus.write), m.Switch(bus.write_address):
            for register in self.registers:
                if register.access != "rw":
                    continue
                for word in range(register.words):
                    with m.Case(register.offset // 4 + word):
                        target = getattr(self, register.name)[32 * word :][:32]
                        for byte in range(4):
                            with m.If(bus.write_strobe[byte]):
                                m.d.sync += target.word_select(byte, 8).eq(bus.write_data.word_select(byte, 8))
        return m

    def _connect(self, m: Module, protocol: BlockProtocol, bus: LiteSlave) -> None:
        m.d.comb += [
            protocol.done.eq(self.done),
            protocol.idle.eq(self.idle),
            protocol.ready.eq(self.ready),
            self.start.eq(protocol.start),
            self.interrupt.eq(protocol.interrupt),
            protocol.data.eq(bus.write_data),
            protocol.read_ctrl.eq(bus.read & (bus.read_address == BY_NAME["ctrl"].offset // 4)),
        ]
        for name in PROTOCOL:
            meant = bus.write_address == BY_NAME[name].offset // 4
            m.d.comb += getattr(protocol, f"write_{name}").eq(bus.write & bus.write_strobe[0] & meant)

    def _reads(self, m: Module, protocol: BlockProtocol, bus: LiteSlave) -> None:
        """In the first of the two cycles each group picks a word of its own, in the second the group is chosen."""
        constants = {name: Const(value, 64) for name, value in self._constants().items()}
        groups: defaultdict[int, dict[int, Value]] = defaultdict(dict)
        for register in self.registers:
            if register.name in PROTOCOL:
                continue
            value = constants[register.name] if register.name in constants else getattr(self, register.name)
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
            with m.Switch(bus.read_address[:place_bits]):
                for place, value in words.items():
                    with m.Case(place):
                        m.d.sync += picked.eq(value)
            show(f"group{group}", bus.read_address[place_bits:] == group, picked)
        for name in PROTOCOL:
            # In the cycle of the read itself: it clears what it shows.
            show(name, bus.read_address == BY_NAME[name].offset // 4, getattr(protocol, f"{name}_value"))
        m.d.comb += bus.read_data.eq(reduce(or_, shown))
