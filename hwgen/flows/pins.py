"""A module around a design that has more ports than a device has pins."""

from __future__ import annotations

from dataclasses import dataclass

from hwgen.flows.modules import parse, ports
from hwgen.flows.render import render

__all__ = ["CLOCK", "few_pins"]

CLOCK = "ap_clk"


@dataclass(frozen=True)
class _Pin:
    name: str
    bus: str
    offset: int
    bits: int


def few_pins(verilog: str, module: str, name: str, family: str) -> str:
    """Verilog of a module `name` around `module` with a serial input and a serial output, for a device of this family
    (nexus, ecp5), whose oscillator is the clock."""
    pins: list[_Pin] = []
    width = {"to": 0, "from": 0}
    for side, port, bits in ports(parse(verilog)[module]):
        if port != CLOCK:
            bus = "to" if side == "input" else "from"
            pins.append(_Pin(port, bus, width[bus], bits))
            width[bus] += bits
    return render("nextpnr/pins.v", name=name, module=module, clock=CLOCK, ports=pins, inputs=width["to"],
                  outputs=width["from"], family=family)  # fmt: skip
