"""Watchdog: cycles of an image, and of the wait for the ports after it.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PATIENCE_CYCLES", "Watchdog"]

#: Cycles after which a port that is to come to rest never will.
PATIENCE_CYCLES = 1 << 16


class Watchdog(wiring.Component):
    """`late`: the image takes more than `watchdog` cycles, unless that is 0. `hopeless`: the run is to end (`abort`)
    and could not for PATIENCE_CYCLES. Both are levels, a few cycles late; `running` and `abort` are the sequencer's.
    """

    def __init__(self) -> None:
        ports = {"running": In(1), "abort": In(1), "watchdog": In(32)}
        super().__init__(ports | {"late": Out(1), "hopeless": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles, enabled, exceeded, patient = Signal(32), Signal(), Signal(), Signal()
        phase, same = Signal(2), Signal()  # of a run: each has its own time
        m.d.comb += [
            same.eq(phase == Cat(self.running, self.abort)),
            self.late.eq(same & exceeded & ~self.abort),
            self.hopeless.eq(same & ~patient),
        ]
        m.d.sync += [
            phase.eq(Cat(self.running, self.abort)),
            cycles.eq(cycles + 1),
            enabled.eq(self.watchdog != 0),
            exceeded.eq(enabled & (cycles >= self.watchdog)),
            patient.eq(cycles < PATIENCE_CYCLES),
        ]
        with m.If(~same):
            m.d.sync += [cycles.eq(0), exceeded.eq(0), patient.eq(1)]
        return m
