"""The flow `nextpnr-nexus`: placed and routed for Lattice CrossLink-NX, with a bitstream (of a design that fits)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hwgen.common.tools import Tool, find_tool
from hwgen.flows.flow import Job, Report
from hwgen.flows.nextpnr import PINS, best, files_of, netlist_of, place_and_route, report
from hwgen.flows.render import render
from hwgen.flows.tools import step
from hwgen.machine.devices import Usage

__all__ = ["NextpnrNexus"]

PLACED, BITSTREAM, CONSTRAINTS = "placed.fasm", "accelerator.bit", "pins.pdc"
#: nextpnr places no pins by itself for Nexus; any of the package will do.
SITES = {"capture": "G13", "in": "F14", "out": "E17"}


class NextpnrNexus:
    """Yosys, nextpnr for each seed, prjoxide for the fastest."""

    name = "nextpnr-nexus"
    families = ("nexus",)
    device = "lifcl-40"
    hls = False

    def tools(self) -> list[Tool]:
        return [find_tool(name) for name in ("yosys", "nextpnr-nexus", "prjoxide")]

    def run(self, job: Job) -> Report:
        yosys, nextpnr, prjoxide = tools = self.tools()
        netlist = netlist_of(yosys, job, "nexus")
        free_carries(netlist["modules"][PINS])
        options = ["--device", job.device.part, "--fasm", PLACED, "--pdc", CONSTRAINTS]
        constraints = {CONSTRAINTS: render("nextpnr/pins.pdc", sites=SITES)}
        placements = place_and_route(nextpnr, job, json.dumps(netlist), options, PLACED, constraints)
        chosen = best(placements)
        text = (chosen.home / PLACED).read_text()
        home = step(prjoxide, ["pack", PLACED, BITSTREAM], {PLACED: text}, [BITSTREAM])
        files = {BITSTREAM: home / BITSTREAM} | files_of(chosen, PLACED)
        return report(self.name, job, tools, netlist, placements, total(chosen.used), files)


def free_carries(module: dict[str, Any]) -> int:
    """The first cell of a carry chain has no carry in. Yosys 0.70 ties it to 0, and nextpnr 0.11 takes whatever drives
    it for logic: it is opened again. Returns how many chains there are."""
    carries = [cell for cell in module["cells"].values() if cell["type"] == "CCU2"]
    chained = {tuple(cell["connections"].get("COUT", ())) for cell in carries}
    begins = [cell for cell in carries if tuple(cell["connections"].get("CIN", ())) not in chained]
    for cell in begins:
        cell["connections"].pop("CIN", None)
        cell["port_directions"].pop("CIN", None)
    return len(begins)


def total(used: Mapping[str, int]) -> Usage:
    return Usage(used["MULT18_CORE"], used["OXIDE_COMB"], used["OXIDE_FF"], used["OXIDE_EBR"] / 2)
