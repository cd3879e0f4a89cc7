"""What Vivado's IP integrator is told of a top module's ports: which bus they belong to, which clock, what is active.

Tested by tests/rtl/test_emit.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from amaranth import Shape
from amaranth.lib import wiring

from hwgen.machine.interfaces import max_beats
from hwgen.machine.params import HwParams

__all__ = ["interface_attributes"]

#: Ports whose names do not begin with that of a bus → kind of interface, role in it, what is said of it.
_SINGLE = {
    "ap_clk": ("clock:1.0", "CLK", "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET ap_rst_n"),
    "ap_rst_n": ("reset:1.0", "RST", "POLARITY ACTIVE_LOW"),
    "interrupt": ("interrupt:1.0", "INTERRUPT", "SENSITIVITY LEVEL_HIGH"),
}


def interface_attributes(ports: Mapping[str, wiring.Member], p: HwParams) -> dict[str, dict[str, str]]:
    """Attributes of each port that is part of an interface; AXI buses are told from names like `m_axi_gmem0_ARADDR`."""
    found: dict[str, dict[str, str]] = {}
    buses: list[str] = []
    for port in ports:
        if not port.startswith(("m_axi_", "s_axi_")):
            continue
        bus, _, signal = port.rpartition("_")
        found[port] = {"X_INTERFACE_INFO": f"xilinx.com:interface:aximm:1.0 {bus} {signal}"}
        if bus not in buses:
            buses.append(bus)
            found[port]["X_INTERFACE_PARAMETER"] = f"XIL_INTERFACENAME {bus}, {_bus(bus, ports, p)}"
    for port, (kind, role, what) in _SINGLE.items():
        found[port] = {
            "X_INTERFACE_INFO": f"xilinx.com:signal:{kind} {port} {role}",
            "X_INTERFACE_PARAMETER": f"XIL_INTERFACENAME {port}, {what.format(buses=':'.join(buses))}",
        }
    return found


def _bus(bus: str, ports: Mapping[str, wiring.Member], p: HwParams) -> str:
    lite = f"{bus}_ARLEN" not in ports
    said: dict[str, object] = {"PROTOCOL": "AXI4LITE" if lite else "AXI4"}
    if not lite:
        said["READ_WRITE_MODE"] = "READ_WRITE" if f"{bus}_AWADDR" in ports else "READ_ONLY"
        bits = Shape.cast(ports[f"{bus}_RDATA"].shape).width
        said["SUPPORTS_NARROW_BURST"] = 0
        said |= {"MAX_BURST_LENGTH": max_beats(p.max_burst, bits), "ID_WIDTH": p.id_bits}
    return ", ".join(f"{name} {value}" for name, value in said.items())
