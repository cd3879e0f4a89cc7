"""What the flows of nextpnr share: a flat netlist behind few pins, placed and routed for several seeds.

Tested by tests/flows/test_nextpnr_ecp5.py.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwgen.common.tools import Tool
from hwgen.flows.cells import usage
from hwgen.flows.flow import Job, ModuleUsage, Report
from hwgen.flows.modules import Modules, parse
from hwgen.flows.pins import few_pins
from hwgen.flows.render import render
from hwgen.flows.tools import in_parallel, step
from hwgen.machine.devices import Usage

__all__ = ["PINS", "Placement", "best", "files_of", "modules_of", "netlist_of", "place_and_route", "report"]

#: The module around the design, and the design in it.
PINS, DESIGN = "pins", "dut"
#: MHz to aim at, where none is asked for.
MHZ = 110.0
#: Rows of the module table have at most so many instance names.
DEPTH = 3


@dataclass(frozen=True)
class Placement:
    """One seed's result: the clock it reaches, cells by nextpnr's names, ends of the slowest path between registers."""

    seed: int
    home: Path
    mhz: float
    used: Mapping[str, int]
    critical_path: list[str]


def netlist_of(yosys: Tool, job: Job, family: str) -> dict[str, Any]:
    """Yosys' netlist of the design behind its pins."""
    job.say("Yosys, the whole design", 0, 1)
    verilog = job.verilog + few_pins(job.verilog, job.top, PINS, family)
    script = render("nextpnr/synth.ys", family=family, top=PINS)
    home = step(yosys, ["-q", "synth.ys"], {"design.v": verilog, "synth.ys": script}, ["netlist.json"])
    job.say("Yosys, the whole design", 1, 1)
    netlist: dict[str, Any] = json.loads((home / "netlist.json").read_text())
    return netlist


def place_and_route(nextpnr: Tool, job: Job, netlist: str, options: Sequence[str], made: str,
                    more: Mapping[str, str] | None = None) -> list[Placement]:  # fmt: skip
    """A placement per seed; `made` is the file it writes for the bitstream, `more` are files that it reads."""
    what = "nextpnr, seeds of the placer"
    done: list[int] = []

    def one(seed: int) -> Placement:
        arguments = [*options, "--freq", f"{job.mhz or MHZ:g}", "--timing-allow-fail", "--seed", str(seed), "--json",
                     "netlist.json", "--report", "report.json", "--quiet"]  # fmt: skip
        home = step(nextpnr, arguments, {"netlist.json": netlist, **(more or {})}, ["report.json", made])
        return _placement(seed, home)

    def finished(seed: int) -> None:
        done.append(seed)
        job.say(what, len(done), len(job.seeds))

    job.say(what, 0, len(job.seeds))
    return in_parallel(one, list(job.seeds), job.jobs, finished)


def _placement(seed: int, home: Path) -> Placement:
    found = json.loads((home / "report.json").read_text())
    (clock,) = found["fmax"].values()
    steps: list[Any] = next((path["path"] for path in found["critical_paths"] if path["from"] == path["to"]), [])
    used = {name: figures["used"] for name, figures in found["utilization"].items()}
    ends = [steps[0]["from"]["cell"], steps[-1]["to"]["cell"]] if steps else []
    return Placement(seed, home, round(clock["achieved"], 1), used, ends)


def best(placements: Sequence[Placement]) -> Placement:
    """The fastest one, which becomes the bitstream; the median is what to expect of an edit."""
    return max(placements, key=lambda placement: placement.mhz)


def files_of(placement: Placement, made: str) -> dict[str, Path]:
    """What a placement leaves, by the name it is to have."""
    names = {"netlist.json": "netlist.json", "nextpnr.log": "log.txt", made: made}
    return {name: placement.home / file for name, file in names.items()}


def report(flow: str, job: Job, tools: Sequence[Tool], netlist: Mapping[str, Any], placements: Sequence[Placement],
           total: Usage, files: Mapping[str, Path]) -> Report:  # fmt: skip
    chosen = best(placements)
    return Report(
        flow=flow, device=job.device.name, tools={tool.name: tool.version for tool in tools}, total=total,
        modules=modules_of(netlist["modules"][PINS]["cells"], parse(job.verilog), job.top),
        fmax={placement.seed: placement.mhz for placement in placements}, critical_path=chosen.critical_path,
        files=dict(files),
    )  # fmt: skip


def modules_of(cells: Mapping[str, Any], modules: Modules, top: str) -> list[ModuleUsage]:
    """Cells by the instance that their names begin with, in Yosys' netlist; what it could not name is `top`'s."""
    known: dict[str, None] = {}

    def visit(name: str, path: list[str]) -> None:
        known[".".join(path)] = None
        if len(path) < DEPTH:
            for instance, child in modules[name].instances:
                visit(child, [*path, instance])

    visit(top, [])
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, cell in cells.items():
        path = name.removeprefix(f"{DESIGN}.").split(".")[:DEPTH] if name.startswith(f"{DESIGN}.") else []
        while ".".join(path) not in known:
            path.pop()
        counts[".".join(path)][cell["type"]] += 1
    return [ModuleUsage(path or top, 1, usage(counts[path])) for path in known if path in counts]
