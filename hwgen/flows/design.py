"""An emitted accelerator as other tools see it: its ports, sorted into bus interfaces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from hwgen.machine.devices import Device
from hwgen.machine.emission import vlnv
from hwgen.machine.interfaces import DATA, Master, masters, max_beats
from hwgen.machine.params import HwParams
from hwgen.rtl.memory.axi import OUTSTANDING

__all__ = ["CLOCK", "CONTROL", "DEBUG", "INTERRUPT", "RESET", "Design", "Interface", "Port", "Target", "ports_of"]

CLOCK, RESET, INTERRUPT, CONTROL = "ap_clk", "ap_rst_n", "interrupt", "s_axi_control"
#: Prefix of ports that belong to no interface: for simulation, left open in a design.
DEBUG = "debug_"
_PORT = re.compile(
    r"^\s*(?:\(\*.*\*\)\s*)?(input|output)\s+(?:wire\s+|reg\s+)?(?:\[(\d+):0\]\s*)?(\w+)\s*;", re.MULTILINE
)


@dataclass(frozen=True)
class Port:
    """A port of the top module."""

    name: str
    output: bool
    bits: int


@dataclass(frozen=True)
class Interface:
    """Ports that belong together; `kind` is the name of its bus definition at Vivado, `library` where it is defined.

    maps: signal of the bus definition → port.
    """

    name: str
    kind: str
    master: bool
    maps: Mapping[str, str]
    parameters: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def library(self) -> str:
        return "interface" if self.kind == "aximm" else "signal"


@dataclass(frozen=True)
class Target:
    """A top module, the path of its Verilog in the build, and what it is to run on. `clock` is in Hz."""

    top: str
    verilog: str
    device: Device
    clock: int

    @property
    def mhz(self) -> str:
        """The clock as scripts take it."""
        return f"{self.clock / 1e6:g}"

    @property
    def vlnv(self) -> str:
        return vlnv(self.top)


@dataclass(frozen=True)
class Design(Target):
    """All that a build has to say to a vendor's tools."""

    ports: tuple[Port, ...]
    params: HwParams
    build_hash: int

    @cached_property
    def masters(self) -> tuple[Master, ...]:
        return masters(self.params)

    @property
    def data_master(self) -> Master:
        """The one that reads program and images and writes outputs."""
        return self.masters[DATA]

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """Every port but `debug_*` is in exactly one. Raises ValueError for a port that fits nowhere."""
        buses = [*(self._master(master) for master in self.masters), self._control()]
        ports = {port.name for port in self.ports}
        taken = [port for bus in buses for port in bus.maps.values()] + [CLOCK, RESET, INTERRUPT]
        left = {port for port in ports - set(taken) if not port.startswith(DEBUG)}
        if left or not ports.issuperset(taken):
            raise ValueError(f"ports in no interface: {sorted(left)}; missing: {sorted(set(taken) - ports)}")
        clock = {"ASSOCIATED_BUSIF": ":".join(bus.name for bus in buses), "ASSOCIATED_RESET": RESET}
        return (
            *buses,
            Interface(CLOCK, "clock", False, {"CLK": CLOCK}, clock),
            Interface(RESET, "reset", False, {"RST": RESET}, {"POLARITY": "ACTIVE_LOW"}),
            Interface(INTERRUPT, "interrupt", True, {"INTERRUPT": INTERRUPT}, {"SENSITIVITY": "LEVEL_HIGH"}),
        )

    def _maps(self, prefix: str) -> dict[str, str]:
        start = f"{prefix}_"
        return {port.name.removeprefix(start): port.name for port in self.ports if port.name.startswith(start)}

    def _bits(self, name: str) -> int:
        return next(port.bits for port in self.ports if port.name == name)

    def _control(self) -> Interface:
        facts: dict[str, str | int] = {
            "PROTOCOL": "AXI4LITE",
            "DATA_WIDTH": self._bits(f"{CONTROL}_RDATA"),
            "ADDR_WIDTH": self._bits(f"{CONTROL}_ARADDR"),
            "READ_WRITE_MODE": "READ_WRITE",
        }
        return Interface(CONTROL, "aximm", False, self._maps(CONTROL), facts)

    def _master(self, master: Master) -> Interface:
        bits = self._bits(f"{master.name}_RDATA")
        facts: dict[str, str | int] = {
            "PROTOCOL": "AXI4",
            "DATA_WIDTH": bits,
            "ADDR_WIDTH": self._bits(f"{master.name}_ARADDR"),
            "ID_WIDTH": self._bits(f"{master.name}_ARID"),
            "READ_WRITE_MODE": "READ_WRITE" if master.writes else "READ_ONLY",
            "HAS_BURST": 1,
            "SUPPORTS_NARROW_BURST": 0,
            "MAX_BURST_LENGTH": max_beats(self.params.max_burst, bits),
            "NUM_READ_OUTSTANDING": OUTSTANDING,
        }
        if master.writes:
            facts["NUM_WRITE_OUTSTANDING"] = OUTSTANDING
        return Interface(master.name, "aximm", True, self._maps(master.name), facts)


def ports_of(verilog: str, top: str) -> tuple[Port, ...]:
    """The ports of module `top` in the text of emitted Verilog, in alphabetical order: those of an interface beside
    each other."""
    start = re.search(rf"^\s*module\s+{re.escape(top)}\b", verilog, re.MULTILINE)
    if start is None:
        raise ValueError(f"no module {top}")
    body = verilog[start.start() : verilog.index("endmodule", start.start())]
    found = [Port(name, kind == "output", int(high or 0) + 1) for kind, high, name in _PORT.findall(body)]
    return tuple(sorted(found, key=lambda port: port.name))
