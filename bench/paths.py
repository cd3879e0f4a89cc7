"""`python -m bench.paths NETLIST.json [ROWS]`: which paths of Yosys' ECP5 netlist will be slow; seconds, not placed.

A route is taken to cost 0.9 + 0.45·log2(fan-out) ns, about what a crowded chip of speed grade 6 makes of it; cells as
nextpnr has them. Registers of one name that end paths from one name are a cluster: it is shown with how many they are
and its worst estimate. The netlist is DIR/netlist.json of
`hwgen synth --flow nextpnr-ecp5 -o DIR`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cluster", "Netlist", "clusters"]

#: ns from the clock to the output, or through a cell.
FROM_CLOCK = {"TRELLIS_FF": 0.5, "DP16KD": 3.5}
THROUGH = {"LUT4": 0.24, "PFUMX": 0.2, "L6MUX21": 0.2, "CCU2C": 0.45, "TRELLIS_DPR16X4": 0.24, "MULT18X18D": 3.9}
REGISTERED, CARRY = 1.0, 0.06
#: Inputs next to their driver: no route.
DIRECT = {"CCU2C": ("CIN",), "PFUMX": ("ALUT", "BLUT"), "L6MUX21": ("D0", "D1")}
CLOCKS = ("CLK", "CLK0", "CLKA", "CLKB", "WCK")


@dataclass(frozen=True)
class Cluster:
    """Paths between registers of two names; `port` is that of the worst one's end, `ns` its estimate."""

    start: str
    end: str
    port: str
    count: int
    ns: float


class Netlist:
    """Arrival times of a module's nets."""

    def __init__(self, module: dict[str, Any]) -> None:
        self.cells: dict[str, Any] = module["cells"]
        self.driver: dict[int, str] = {}
        self.fan_out: defaultdict[int, int] = defaultdict(int)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][port] == "output":
                        self.driver[bit] = name
                    else:
                        self.fan_out[bit] += 1
        self.arrivals: dict[int, tuple[float, str]] = {}  #: ns, and the cell in which the path begins

    def route(self, bit: int) -> float:
        return 0.9 + 0.45 * math.log2(max(1, self.fan_out[bit]))

    def _inputs(self, name: str) -> Iterator[tuple[str, int]]:
        cell = self.cells[name]
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input" and port not in CLOCKS:
                yield from ((port, bit) for bit in bits if isinstance(bit, int))

    def arrival(self, bit: int) -> tuple[float, str]:
        """Of a net; a loop of logic counts as 0."""
        if bit in self.arrivals:
            return self.arrivals[bit]
        self.arrivals[bit] = 0.0, "?"
        name = self.driver.get(bit)
        if name is None:
            return self.arrivals[bit]
        kind, parameters = self.cells[name]["type"], self.cells[name].get("parameters", {})
        if kind in FROM_CLOCK or "REG_INPUTA_CLK" in parameters:
            self.arrivals[bit] = FROM_CLOCK.get(kind, REGISTERED), name
            return self.arrivals[bit]
        best = 0.0, name
        for port, source in self._inputs(name):
            if kind == "TRELLIS_DPR16X4" and not port.startswith("RAD"):
                continue
            before, start = self.arrival(source)
            direct = port in DIRECT.get(kind, ())
            delay = CARRY if kind == "CCU2C" and direct else THROUGH.get(kind, 0.2)
            best = max(best, (before + (0.0 if direct else self.route(source)) + delay, start))
        self.arrivals[bit] = best
        return best

    def ends(self) -> Iterator[tuple[float, str, str, str]]:
        """(ns, first cell, last cell, its port) of the slowest path into every registered input."""
        for name, cell in self.cells.items():
            if cell["type"] in FROM_CLOCK or "REG_INPUTA_CLK" in cell.get("parameters", {}):
                for port, bit in self._inputs(name):
                    before, start = self.arrival(bit)
                    yield before + self.route(bit), start, name, port


def clusters(module: dict[str, Any]) -> list[Cluster]:
    """Slowest first."""
    found: dict[tuple[str, str], Cluster] = {}
    for ns, start, end, port in sorted(Netlist(module).ends(), reverse=True):
        key = _name(start), _name(end)
        worst = found.get(key, Cluster(*key, port, 0, ns))
        found[key] = Cluster(worst.start, worst.end, worst.port, worst.count + 1, worst.ns)
    return sorted(found.values(), key=lambda cluster: -cluster.ns)


def _name(cell: str) -> str:
    """Of the register, without its bit."""
    return re.sub(r"(_TRELLIS_FF_Q|_MULT18X18D).*|\$?\d+", "", cell)


def main() -> None:
    sys.setrecursionlimit(100_000)
    netlist = json.loads(Path(sys.argv[1]).read_text())
    for cluster in clusters(netlist["modules"]["pins"])[: int(sys.argv[2]) if len(sys.argv) > 2 else 40]:
        print(f"{cluster.ns:5.1f} {cluster.count:5d} {cluster.start} -> {cluster.end} {cluster.port}")


if __name__ == "__main__":
    main()
