"""The flow `yosys`: mapped to a family, not placed. Counts of every part and the longest path, no clock.

Yosys puts neither registers nor adders into a DSP slice of AMD: LUTs, flip-flops and the path are more than the
vendor's tools make of it.
"""

from __future__ import annotations

import json
from pathlib import Path

from hwgen.common.tools import Tool, find_tool
from hwgen.flows.cells import latches, usage
from hwgen.flows.flow import Job, ModuleUsage, Report
from hwgen.flows.netlist import Mapped, instances, largest_nets, longest_path, memories, read
from hwgen.flows.parts import Part, partition
from hwgen.flows.render import render
from hwgen.flows.tools import in_parallel, step
from hwgen.machine.devices import Usage

__all__ = ["Yosys", "map_part", "plain"]

#: Bits a memory may have and still become flip-flops.
SMALL_MEMORY = 2048


class Yosys:
    """Parts apart (`parts.py`), several at a time, each kept by content."""

    name = "yosys"
    families = ("xcup", "xc7", "ecp5", "nexus")
    device = "xczu9eg"
    hls = False

    def tools(self) -> list[Tool]:
        return [find_tool("yosys")]

    def run(self, job: Job) -> Report:
        (tool,) = self.tools()
        parts = partition(job.verilog, job.top, job.parts)
        done: list[Part] = []

        def finished(part: Part) -> None:
            done.append(part)
            job.say("Yosys, parts of the design", len(done), len(parts))

        job.say("Yosys, parts of the design", 0, len(parts))
        homes = in_parallel(lambda part: map_part(tool, part, job.device.family, job.device.uram > 0), parts, job.jobs,
                            finished)  # fmt: skip
        return report(self.name, job, tool, parts, homes)


def map_part(tool: Tool, part: Part, family: str, uram: bool) -> Path:
    """The directory with cells.json, netlist.json and memories.txt of a part."""
    script = render("yosys/part.ys", family=family, uram=uram, top=part.name)
    results = ("cells.json", "netlist.json", "memories.txt")
    return step(tool, ["-q", "part.ys"], {"part.v": part.verilog, "part.ys": script}, results)


def report(flow: str, job: Job, tool: Tool, parts: list[Part], homes: list[Path]) -> Report:
    """What the parts come to."""
    names = {plain(part.name): part.name for part in parts}
    design: dict[str, Mapped] = {}
    unplaced = {}
    for part, home in zip(parts, homes, strict=True):
        design[part.name] = read(json.loads((home / "netlist.json").read_text()), names)
        unplaced[part.name] = sum(bits > SMALL_MEMORY for bits in memories((home / "memories.txt").read_text()))
    top = parts[-1].name
    count = instances(design, top)
    own = {name: {kind: n for kind, n in mapped.cells.items() if kind not in names} for name, mapped in design.items()}
    modules = [ModuleUsage(shown(name, job.top), count[name], usage(own[name])) for name in reversed(design)]
    path = longest_path(design, top)
    return Report(
        flow=flow, device=job.device.name, tools={tool.name: tool.version},
        total=sum((one.usage * one.instances for one in modules), Usage()), modules=modules,
        levels=path.levels, longest_path=path.cells, critical_path=[path.start, path.end],
        largest_nets=largest_nets(design, top),
        latches=sum(count[name] * latches(own[name]) for name in own),
        ff_memories=sum(count[name] * unplaced[name] for name in own),
    )  # fmt: skip


def plain(name: str) -> str:
    """A module's name without the mark of escaped ones."""
    return name.removeprefix("\\")


def shown(name: str, top: str) -> str:
    """A module's name in tables: without the top's in front. One of several identical ones stands for all."""
    return plain(name).removeprefix(plain(top)).lstrip("._") or plain(top)
