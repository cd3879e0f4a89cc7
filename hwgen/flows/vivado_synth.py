"""The flow `vivado`: out-of-context synthesis with the script that every build has, and what its reports say.

Nothing is placed: the clock is an estimate of Vivado's, with wire delays that it guesses.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwgen.common.errors import HwgenError
from hwgen.flows.design import Target
from hwgen.flows.flow import Job, ModuleUsage, Report
from hwgen.flows.tools import Tool, step
from hwgen.flows.vivado import synthesis
from hwgen.machine.devices import Usage

__all__ = ["Vivado", "modules_of", "timing_of"]

#: Where no clock is asked for.
MHZ = 200.0
REPORTS = ("utilization", "hierarchy", "timing", "fanout")
VERILOG = "design.v"
#: Rows of the module table are so many levels below the top, at most.
DEPTH = 3


class Vivado:
    """Needs Vivado; its project is in every build, for a machine that has it."""

    name = "vivado"
    families = ("xcup", "xc7")
    device = "xczu9eg"
    hls = False

    def tools(self) -> list[Tool]:
        program = shutil.which("vivado")
        if program is None:
            raise HwgenError(
                "vivado", expected="the program `vivado` on PATH", found="no such program",
                mend="take the build to a machine that has it; in the build's directory, whose folder `vivado` is the "
                "project: vivado -mode batch -source vivado/synth.tcl",
            )  # fmt: skip
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stdout
        return [Tool("vivado", Path(program), said.partition("\n")[0].strip() or "unknown version")]

    def run(self, job: Job) -> Report:
        (tool,) = self.tools()
        target = Target(job.top, VERILOG, job.device, round(1e6 * (job.mhz or MHZ)))
        job.say("Vivado, synthesis", 0, 1)
        names = {name: f"build/synth_{name}.rpt" for name in REPORTS}
        arguments = ["-mode", "batch", "-source", "synth.tcl", "-tclargs", job.device.part, target.mhz]
        inputs = {VERILOG: job.verilog} | synthesis(target, VERILOG)
        home = step(tool, arguments, inputs, list(names.values()))
        job.say("Vivado, synthesis", 1, 1)
        texts = {name: (home / file).read_text("utf-8", "replace") for name, file in names.items()}
        modules = modules_of(texts["hierarchy"])
        timing = timing_of(texts["timing"])
        return Report(
            flow=self.name, device=job.device.name, tools={tool.name: tool.version},
            total=sum((one.usage for one in modules), Usage()), modules=modules, levels=timing.levels,
            longest_path=timing.cells, fmax={job.seeds[0]: timing.mhz}, critical_path=timing.ends,
            latches=_latches(texts["utilization"]),
            files={f"vivado_{name}.rpt": home / file for name, file in names.items()},
        )  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """The slowest path: the clock it allows, its LUTs, all its cells, its ends."""

    mhz: float
    levels: int
    cells: int
    ends: list[str]


def _rows(report: str) -> Iterator[list[str]]:
    """Cells of the tables in a report; blanks in front of a row's first cell are kept: they are its depth."""
    for line in report.splitlines():
        if line.startswith("|") and line.count("|") > 2:
            first, *others = line.strip().strip("|").split("|")
            yield [first.rstrip(), *(cell.strip() for cell in others)]


def modules_of(hierarchy: str) -> list[ModuleUsage]:
    """Of `report_utilization -hierarchical`, whose rows count what is below them, too."""
    rows = _rows(hierarchy)
    head = next((row for row in rows if row[0].strip() == "Instance"), None)
    if head is None:
        raise _unreadable("hierarchical utilization", "a table of instances")
    columns = [name.removesuffix(" Blocks").rstrip("0123456789") if name.startswith("DSP") else name for name in head]
    found: list[tuple[int, str, Usage]] = []
    for row in rows:
        if row[0].strip().startswith("("):
            continue  # what an instance has beside its submodules
        cells = dict(zip(columns, row, strict=True))
        usage = Usage(
            dsp=_number(cells["DSP"]), lut=_number(cells["Total LUTs"]), ff=_number(cells["FFs"]),
            bram36=_number(cells["RAMB36"]) + _number(cells["RAMB18"]) / 2, uram=_number(cells.get("URAM", "0")),
        )  # fmt: skip
        depth = (len(row[0]) - len(row[0].lstrip())) // 2
        if depth <= DEPTH:
            found.append((depth, row[0].strip(), usage))
    return [ModuleUsage(name, 1, own) for name, own in _own(found)]


def _own(rows: list[tuple[int, str, Usage]]) -> Iterator[tuple[str, Usage]]:
    """Each row's path below the top, and what is its own: less the rows right below it."""
    path: list[str] = []
    for place, (depth, name, usage) in enumerate(rows):
        path[depth:] = [name]
        for deeper, _, part in rows[place + 1 :]:
            if deeper <= depth:
                break
            if deeper == depth + 1:
                usage = usage + part * -1
        yield ".".join(path[1:]) or name, usage


def timing_of(report: str) -> Timing:
    """Of `report_timing_summary`: a clock and the slack that the slowest path leaves of its period."""
    slack = re.search(r"^\s*WNS\(ns\).*\n[\s-]*\n\s*(-?[\d.]+)\s", report, re.MULTILINE)
    clock = re.search(r"^\w+\s+\{[\d. ]+\}\s+([\d.]+)\s+[\d.]+\s*$", report, re.MULTILINE)
    if slack is None or clock is None:
        raise _unreadable("timing summary", "a clock and its slack")
    path = re.search(r"Logic Levels:\s+(\d+)(?:\s+\((.*?)\))?", report)
    luts = re.findall(r"LUT\d=(\d+)", path[2] or "") if path else []
    ends = [match[1] for end in ("Source", "Destination") if (match := re.search(rf"{end}:\s+(\S+)", report))]
    period = float(clock[1]) - float(slack[1])
    return Timing(round(1000 / period, 1), sum(map(int, luts)), int(path[1]) if path else 0, ends)


def _latches(utilization: str) -> int:
    return next((int(_number(row[1])) for row in _rows(utilization) if row[0].strip() == "Register as Latch"), 0)


def _number(cell: str) -> float:
    """Of `1234` or `1234(5.67%)`."""
    return float(re.sub(r"\(.*", "", cell) or 0)


def _unreadable(report: str, expected: str) -> HwgenError:
    return HwgenError("vivado", report, expected=expected, found="a report of another layout",
                      mend="please report it as a bug, with the version of Vivado")  # fmt: skip
