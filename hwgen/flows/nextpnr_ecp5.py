"""The flow `nextpnr-ecp5`: placed and routed for Lattice ECP5, with a bitstream (of a design that fits, pins apart)."""

from __future__ import annotations

import json
import re

from hwgen.common.tools import Tool, find_tool
from hwgen.flows.flow import Job, Report
from hwgen.flows.multipliers import pack_multipliers
from hwgen.flows.nextpnr import PINS, best, files_of, netlist_of, place_and_route, report
from hwgen.flows.tools import step
from hwgen.machine.devices import Device, Usage

__all__ = ["NextpnrEcp5"]

PLACED, BITSTREAM = "placed.config", "accelerator.bit"


class NextpnrEcp5:
    """Yosys, registers into multipliers (`multipliers.py`), nextpnr for each seed, ecppack for the fastest."""

    name = "nextpnr-ecp5"
    families = ("ecp5",)
    device = "lfe5u-85f"
    hls = False

    def tools(self) -> list[Tool]:
        return [find_tool(name) for name in ("yosys", "nextpnr-ecp5", "ecppack")]

    def run(self, job: Job) -> Report:
        yosys, nextpnr, ecppack = tools = self.tools()
        netlist = netlist_of(yosys, job, "ecp5")
        pack_multipliers(netlist, PINS)
        options = [*part_options(job.device), "--placer", "static", "--router", "router2", "--textcfg", PLACED]
        placements = place_and_route(nextpnr, job, json.dumps(netlist), options, PLACED)
        chosen = best(placements)
        text = (chosen.home / PLACED).read_text()
        home = step(ecppack, ["--input", PLACED, "--bit", BITSTREAM], {PLACED: text}, [BITSTREAM])
        used = chosen.used
        total = Usage(used["MULT18X18D"], used["TRELLIS_COMB"], used["TRELLIS_FF"], used["DP16KD"] / 2)
        files = {BITSTREAM: home / BITSTREAM} | files_of(chosen, PLACED)
        return report(self.name, job, tools, netlist, placements, total, files)


def part_options(device: Device) -> list[str]:
    """nextpnr's of a part: LFE5U-85F-8BG756C is 85k cells, speed grade 8, package CABGA756."""
    found = re.fullmatch(r"LFE5U-(\d+)F-(\d)BG(\d+)\w", device.part)
    assert found is not None, device.part
    return [f"--{found[1]}k", "--speed", found[2], "--package", f"CABGA{found[3]}"]
