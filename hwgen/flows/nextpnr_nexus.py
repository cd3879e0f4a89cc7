"""The flow `nextpnr-nexus`: placed and routed for Lattice CrossLink-NX, with a bitstream (of a design that fits)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hwgen.common.tools import Tool, find_tool
from hwgen.flows.flow import Job, Report
from hwgen.flows.nextpnr import best, files_of, netlist_of, place_and_route, report
from hwgen.flows.tools import step
from hwgen.machine.devices import Usage

__all__ = ["NextpnrNexus"]

PLACED, BITSTREAM = "placed.fasm", "accelerator.bit"


class NextpnrNexus:
    """Yosys, nextpnr for each seed, prjoxide for the fastest."""

    name = "nextpnr-nexus"
    families = ("nexus",)
    device = "lifcl-40"

    def tools(self) -> list[Tool]:
        return [find_tool(name) for name in ("yosys", "nextpnr-nexus", "prjoxide")]

    def run(self, job: Job) -> Report:
        yosys, nextpnr, prjoxide = tools = self.tools()
        netlist = netlist_of(yosys, job, "nexus")
        options = ["--device", job.device.part, "--fasm", PLACED]
        placements = place_and_route(nextpnr, job, json.dumps(netlist), options, PLACED)
        chosen = best(placements)
        text = (chosen.home / PLACED).read_text()
        home = step(prjoxide, ["pack", PLACED, BITSTREAM], {PLACED: text}, [BITSTREAM])
        files = {BITSTREAM: home / BITSTREAM} | files_of(chosen, PLACED)
        return report(self.name, job, tools, netlist, placements, total(chosen.used), files)


def total(used: Mapping[str, int]) -> Usage:
    return Usage(used["MULT18_CORE"], used["OXIDE_COMB"], used["OXIDE_FF"], used["OXIDE_EBR"] / 2)
