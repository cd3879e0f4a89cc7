"""Control registers: AXI4-Lite slave with the block-level protocol `ap_ctrl_hs`, made from `hwgen.machine.regmap`."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.params import HwParams
from hwgen.machine.regmap import BY_NAME, COUNTERS, MAGIC, VERSION, Bits, registers
from hwgen.rtl.control.lite import LITE_PORTS, LiteSlave
from hwgen.rtl.control.protocol import PROTOCOL, BlockProtocol

__all__ = ["Control"]

BUS = "s_axi_control"
#: Registers from which a read picks one at first.
GROUP = 4


class Control(wiring.Component):
    """Registers of `hwgen.machine.regmap` that the accelerator has. Each "rw" register is an output port, each "ro" or
    "clear" register an input port of its name, the latter with an output `*_clear`: a pulse when it is written.

    `start` is a pulse, a cycle after `ctrl.start` is set and no run is under way. `done` (input pulse) ends the run and
    sets `ctrl.done`; `ready` (pulse, not after `done`; may be the same) uses up `ctrl.start`, and with an `error_code`
    ends the restarting, too. `stop` (level): the run under way is to end. `idle` (level): nothing runs. `interrupt` is
    high while an enabled event is pending. Arguments are not latched: write them only while idle.
    A read of a counter's lower word keeps the upper one for the read that follows. One write per two cycles, one read
    per five; address and data of a write may come in any order. All responses are OKAY.
    """

    def __init__(self, p: HwParams, *, build_hash: int) -> None:
        if not 0 <= build_hash < 1 << 64:
            raise ValueError(f"build_hash must fit in 64 bits, not {build_hash!r}")
        self.p, self.build_hash, self.registers = p, build_hash, registers(p)
        super().__init__(
            {f"{BUS}_{name}": member for name, member in LITE_PORTS.items()}
            | {register.name: Out(register.bits) for register in self.registers if register.access == "rw"}
            | {register.name: In(register.bits) for register in self.registers if register.access in ("ro", "clear")}
            | {f"{register.name}_clear": Out(1) for register in self.registers if register.access == "clear"}
            | {"start": Out(1), "stop": Out(1), "done": In(1), "idle": In(1), "ready": In(1), "interrupt": Out(1)}
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
            protocol.failed.eq(self.error_code.any()),
            self.stop.eq(protocol.stop),
            self.start.eq(protocol.start),
            self.interrupt.eq(protocol.interrupt),
            protocol.data.eq(bus.write_data),
            protocol.read_ctrl.eq(bus.read & (bus.read_address == BY_NAME["ctrl"].offset // 4)),
        ]
        written = {name: bus.write & (bus.write_address == register.offset // 4) for name, register in BY_NAME.items()}
        for name in PROTOCOL:
            m.d.comb += getattr(protocol, f"write_{name}").eq(written[name] & bus.write_strobe[0])
        (stop,) = (part.lsb for part in BY_NAME["ctrl"].parts if part.name == "stop")
        m.d.comb += protocol.write_stop.eq(written["ctrl"] & bus.write_strobe[stop // 8] & bus.write_data[stop])
        for register in self.registers:
            if register.access == "clear":
                m.d.comb += getattr(self, f"{register.name}_clear").eq(written[register.name] & bus.write_strobe[0])

    def _reads(self, m: Module, protocol: BlockProtocol, bus: LiteSlave) -> None:
        """A word in as many short steps as the bus waits: which register is meant; it, of its group; of all groups; the
        word. So no net goes to more than a register's bits, and they may lie far apart. Each register has a pair of
        words to itself; those of one word come last, so that their groups have no upper one."""
        values = self._constants()
        choices, counted = [], []
        for register in sorted(self.registers, key=lambda one: -one.words):
            name = register.name
            if name in PROTOCOL:
                continue
            meant = Signal(name=f"{name}_meant")
            m.d.sync += meant.eq(bus.read_address[1:] == register.offset // 8)
            value = Const(values[name], register.bits) if name in values else getattr(self, name)
            choices.append(Mux(meant, value, 0))
            if name in COUNTERS:
                counted.append(meant)
        picked = []
        for first in range(0, len(choices), GROUP):
            picked.append(Signal(64, name=f"group{first // GROUP}", reset_less=True))
            m.d.sync += picked[-1].eq(reduce(or_, choices[first : first + GROUP]))
        pair_read = Signal(64, reset_less=True)
        m.d.sync += pair_read.eq(reduce(or_, picked))
        shown = self._words(m, bus, pair_read, Cat(counted).any())
        for name in PROTOCOL:
            # In the cycle of the read itself: it clears what it shows.
            meant = Signal(name=f"{name}_meant")
            m.d.sync += meant.eq(bus.read_address == BY_NAME[name].offset // 4)
            shown.append(Mux(meant, getattr(protocol, f"{name}_value"), 0))
        m.d.comb += bus.read_data.eq(reduce(or_, shown))

    def _words(self, m: Module, bus: LiteSlave, pair: Value, counted: Value) -> list[Value]:
        """The word of `pair` that is read, the others as zero; the upper one of a counter may have been `kept`."""
        at = bus.read_address[1:]
        upper, of, kept = Signal(32, reset_less=True), Signal.like(at), Signal()
        counter, low, high, again = (Signal(name=name) for name in ("counter", "low", "high", "again"))
        mine = bus.read_address[0] & kept & (of == at)
        m.d.sync += [
            counter.eq(counted),
            low.eq(~bus.read_address[0]),
            high.eq(bus.read_address[0] & ~mine),
            again.eq(mine),
        ]
        with m.If(bus.read & again):
            m.d.sync += kept.eq(0)
        with m.If(bus.read & low & counter):
            m.d.sync += [upper.eq(pair[32:]), of.eq(at), kept.eq(1)]
        return [Mux(low, pair[:32], 0), Mux(high, pair[32:], 0), Mux(again, upper, 0)]
