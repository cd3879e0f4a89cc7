"""The AXI ports of an accelerator as simulations number them, and what of the weights each reads.

Tested by tests/sim/test_ports.py.
"""

from __future__ import annotations

import re

from hwgen.compiler.packing import port_images

__all__ = ["PORTS", "WEIGHTS", "WRITES", "weight_ports", "weight_shares"]

#: By number, as in `sim.harness.Job.fault`: the master, and the regions that it may touch.
PORTS = (
    ("m_axi_gmem0", ("weights",)), ("m_axi_gmem1", ("program", "input", "output")), ("m_axi_gmem1", ("output",)),
    ("m_axi_gmem2", ("weights1",)), ("m_axi_gmem3", ("weights2",)), ("m_axi_gmem4", ("weights3",)),
)  # fmt: skip
#: Of the weight ports, and of the one that writes.
WEIGHTS, WRITES = (0, 3, 4, 5), 2


def weight_ports(verilog: str) -> tuple[int, ...]:
    """Bytes of a beat of each weight port that the accelerator's declarations show."""
    found = (re.search(rf"input \[(\d+):0\] {PORTS[number][0]}_RDATA", verilog) for number in WEIGHTS)
    return tuple((int(match[1]) + 1) // 8 for match in found if match)


def weight_shares(weights: bytes, ports: tuple[int, ...]) -> tuple[bytes, ...]:
    """What each port reads of the weights region; `ports`: bytes of their beats, all the same."""
    return port_images(weights, len(ports), ports[0])
