"""Arguments of a run: those for which it must not start, as they would lead out of a region or onto other data.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.interfaces import numbered
from hwgen.machine.params import ALIGN, HwParams
from hwgen.machine.regmap import Error

__all__ = ["Arguments"]

REGIONS = ("program", "weights", "input", "output")


class Arguments(wiring.Component):
    """`refusal`: the error code of the first argument that a run cannot have, or 0, with `refused` (level).

    LATENCY cycles after the arguments. Each weight port has its share of `weights_size` from a base of its own.
    `owing` (level) refuses any, a cycle later: a port still owes data of the run before.
    """

    LATENCY = 3

    def __init__(self, p: HwParams) -> None:
        self.ports = p.weight_ports
        super().__init__(
            {f"{region}_base": In(64) for region in REGIONS}
            | {numbered("weights_base", port): In(64) for port in range(1, self.ports)}
            | {f"{region}_size": In(32) for region in REGIONS}
            | {name: In(32) for name in ("entry", "input_stride", "output_stride")}
            | {"owing": In(1), "refused": Out(1), "refusal": Out(8)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def aside(name: str, value: Value) -> Signal:
            result = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += result.eq(value)
            return result

        def askew(name: str) -> Signal:
            return aside(f"{name}_askew", getattr(self, name)[: exact_log2(ALIGN)].any())

        def astray(name: str, size: Value) -> Value:
            base = getattr(self, name)
            end = aside(f"{name}_end", base[:32] + size)  # its carry: into the upper half of the address
            return askew(name) | (aside(f"{name}_topmost", base[32:].all()) & end[32] & end[:32].any())

        wrong: list[tuple[Error, Value]] = []
        for region in REGIONS:
            bases, size = [f"{region}_base"], getattr(self, f"{region}_size")
            if region == "weights":
                bases = [numbered("weights_base", port) for port in range(self.ports)]
                size = size[exact_log2(self.ports) :]
            wrong.append((Error[f"{region.upper()}_BASE"], Cat(astray(base, size) for base in bases).any()))
        wrong += [(Error[name.upper()], askew(name)) for name in ("input_stride", "output_stride")]
        wrong.append((Error.ENTRY, askew("entry") | aside("entry_outside", self.entry >= self.program_size)))

        found = [(Error.PORTS, self.owing)]
        found += [(code, aside(f"wrong_{code.name}", condition)) for code, condition in wrong]
        m.d.sync += [self.refused.eq(0), self.refusal.eq(Error.NONE)]
        for code, condition in reversed(found):
            with m.If(condition):
                m.d.sync += [self.refused.eq(1), self.refusal.eq(code)]
        return m
