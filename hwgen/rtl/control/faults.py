"""Faults: the first thing that goes wrong in a run, kept until the next one begins.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.interfaces import weight_numbers
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error

__all__ = ["Faults"]

#: Cycles after which the engine, starved while no weights can come, will never get any.
STARVED_CYCLES = 1 << 16


class Faults(wiring.Component):
    """`failed` (level) and the `fault` code, a cycle after the first fault since `begin`; what comes later is dropped.

    Errors of the ports, starvation, the watchdog (`late`) and the host (`stop`) may come at any time and count while
    `watching`; `found` is a fault of the instruction at hand, with `found_code`, and goes before them.
    """

    def __init__(self, p: HwParams) -> None:
        self.weight_errors = {f"read{number}_error": Error[f"READ_GMEM{number}"] for number in weight_numbers(p)}
        super().__init__(
            {
                "begin": In(1),
                "watching": In(1),
                "found": In(1),
                "found_code": In(8),
                "stop": In(1),
                "late": In(1),
                "read1_error": In(1),
                "write1_error": In(1),
                "starved": In(1),
                "weights_barred": In(1),
                "failed": Out(1),
                "fault": Out(8),
            }
            | dict.fromkeys(self.weight_errors, In(1))
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        hunger = Signal(range(STARVED_CYCLES))
        with m.If(self.starved & self.weights_barred):
            m.d.sync += hunger.eq(hunger + 1)
        with m.Else():
            m.d.sync += hunger.eq(0)
        port_fault = Signal(8)
        for event, code in (
            (self.stop, Error.STOPPED),
            (self.late, Error.WATCHDOG),
            (hunger == STARVED_CYCLES - 1, Error.STARVED),
            *((getattr(self, name), code) for name, code in self.weight_errors.items()),
            (self.read1_error, Error.READ_GMEM1),
            (self.write1_error, Error.WRITE_GMEM1),
        ):
            with m.If(event):
                m.d.comb += port_fault.eq(code)
        with m.If(~self.failed & self.watching):
            m.d.sync += [self.fault.eq(port_fault), self.failed.eq(port_fault.any())]
        with m.If(~self.failed & self.found):
            m.d.sync += [self.fault.eq(self.found_code), self.failed.eq(1)]
        with m.If(self.begin):
            m.d.sync += [self.fault.eq(0), self.failed.eq(0)]
        return m
