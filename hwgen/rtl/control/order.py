"""Order: which units are busy, and whether the next instruction may overtake what they do.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import UNITS, Op
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields

__all__ = ["PORTS", "Order"]

#: What an opcode starts; IMAGE, LOAD and STORE are parts of the unit `data`.
PORTS: dict[str, tuple[Op, ...]] = {name: ops for name, ops in UNITS.items() if name != "data"}
PORTS |= {"image": (Op.IMAGE,), "load": (Op.LOAD,), "store": (Op.STORE,)}


class Order(wiring.Component):
    """`instruction` against the units of `isa.UNITS`, a bit each in `busy` and `holds`: the unit holds it back, as the
    instruction is its own and it has no room, or as the ORDER fields forbid to work beside it. `holds` is a cycle late.

    A unit is busy from the cycle after its `*_start` until that of its `*_done`; `clear` ends all. The engine tells how
    many of its instructions are `unfinished` instead. A STORE is done (`data_done`) when its writes are answered, too.
    `*_selected` (a cycle late): the port that the opcode is for.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "instruction": In(INSTRUCTION_BITS),
                "clear": In(1),
                "unfinished": In(range(CONTEXTS + 1)),
                "writer_idle": In(1),
                "data_done": Out(1),
                "busy": Out(len(UNITS)),
                "holds": Out(len(UNITS)),
            }
            | {f"{port}_{event}": In(1) for port in PORTS for event in ("start", "done")}
            | {f"{port}_selected": Out(1) for port in PORTS}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        f = Fields(self.instruction)
        for port, opcodes in PORTS.items():
            m.d.sync += getattr(self, f"{port}_selected").eq(f.op.matches(*opcodes))
        self._data_done(m)
        engine_full = self.engine_selected & (self.unfinished == CONTEXTS)
        m.d.comb += self.busy[0].eq(self.unfinished != 0)
        m.d.sync += self.holds[0].eq(engine_full | (self.unfinished > f.engine_lag))
        for number, unit in list(enumerate(UNITS))[1:]:
            ports = [port for port, opcodes in PORTS.items() if set(opcodes) <= set(UNITS[unit])]
            done = self.data_done if unit == "data" else getattr(self, f"{unit}_done")
            with m.If(done | self.clear):
                m.d.sync += self.busy[number].eq(0)
            with m.If(Cat(getattr(self, f"{port}_start") for port in ports).any()):
                m.d.sync += self.busy[number].eq(1)
            own = Cat(getattr(self, f"{port}_selected") for port in ports).any()
            m.d.sync += self.holds[number].eq(self.busy[number] & (own | ~getattr(f, f"beside_{unit}")))
        return m

    def _data_done(self, m: Module) -> None:
        """Of a STORE a cycle after the last answer, so that an error in it is known by then."""
        storing, answered = Signal(), Signal()
        m.d.sync += answered.eq(self.writer_idle)
        m.d.comb += self.data_done.eq((storing & self.writer_idle & answered) | self.image_done | self.load_done)
        with m.If(self.store_done):
            m.d.sync += storing.eq(1)
        with m.If((storing & self.writer_idle & answered) | self.clear):
            m.d.sync += storing.eq(0)
