"""The block-level protocol `ap_ctrl_hs`: starting a run, telling its end, the interrupt.

Tested by tests/rtl/control/test_registers.py.
"""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.regmap import BY_NAME

__all__ = ["PROTOCOL", "BlockProtocol"]

#: Registers whose behaviour it is.
PROTOCOL = ("ctrl", "gie", "ier", "isr")


class BlockProtocol(wiring.Component):
    """Registers `ctrl`, `gie`, `ier` and `isr`: `*_value` is what they read as, `write_*` (pulse) writes `data`,
    `read_ctrl` (pulse) tells that `ctrl` is read, which clears what it shows, `write_stop` (pulse) writes its stop bit.

    `start`, `stop`, `done`, `failed`, `idle`, `ready` and `interrupt` as `Control` has them.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "data": In(32),
                "read_ctrl": In(1),
                "write_stop": In(1),
                "start": Out(1),
                "stop": Out(1),
                "done": In(1),
                "failed": In(1),
                "idle": In(1),
                "ready": In(1),
                "interrupt": Out(1),
            }
            | {f"write_{name}": In(1) for name in PROTOCOL}
            | {"ctrl_value": Out(32), "gie_value": Out(1), "ier_value": Out(2), "isr_value": Out(2)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._run(m)
        self._interrupt(m)
        return m

    def _run(self, m: Module) -> None:
        bit = {part.name: part.lsb for part in BY_NAME["ctrl"].parts}
        started, done, ready, auto_restart, running = Signal(), Signal(), Signal(), Signal(), Signal()
        # A stop that comes too late for its run still ends the restarting.
        with m.If(self.write_stop & (started | running)):
            m.d.sync += self.stop.eq(1)
        with m.If(self.done):
            m.d.sync += self.stop.eq(0)
        with m.If(self.ready):
            m.d.sync += started.eq(auto_restart & ~self.failed & ~self.stop & ~self.write_stop)
        with m.If(self.write_ctrl):
            m.d.sync += auto_restart.eq(self.data[bit["auto_restart"]])
            with m.If(self.data[bit["start"]]):
                m.d.sync += started.eq(1)
        # An event in the very cycle of the read is kept for the next read.
        with m.If(self.read_ctrl):
            m.d.sync += [done.eq(0), ready.eq(0)]
        with m.If(self.done):
            m.d.sync += [done.eq(1), running.eq(0)]
        with m.If(self.ready):
            m.d.sync += ready.eq(1)
        begin = started & ~running & self.idle
        m.d.sync += self.start.eq(begin)
        with m.If(begin):
            m.d.sync += running.eq(1)
        m.d.comb += [
            self.ctrl_value[bit["start"]].eq(started),
            self.ctrl_value[bit["done"]].eq(done),
            self.ctrl_value[bit["idle"]].eq(self.idle & ~started & ~running),
            self.ctrl_value[bit["ready"]].eq(ready),
            self.ctrl_value[bit["auto_restart"]].eq(auto_restart),
            self.ctrl_value[bit["stop"]].eq(self.stop),
        ]

    def _interrupt(self, m: Module) -> None:
        enable, enables, status = self.gie_value, self.ier_value, self.isr_value
        with m.If(self.write_gie):
            m.d.sync += enable.eq(self.data[0])
        with m.If(self.write_ier):
            m.d.sync += enables.eq(self.data)
        events = enables & Cat(self.done, self.ready)
        m.d.sync += [
            status.eq((status ^ Mux(self.write_isr, self.data[:2], 0)) | events),
            self.interrupt.eq(enable & status.any()),
        ]
