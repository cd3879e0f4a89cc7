"""The flow `vitis`: C synthesis of a build's HLS sources with the script that the build has, and what its report says.

Nothing is placed, and no netlist is mapped: counts and clock are what HLS expects of its operators.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from hwgen.common.errors import HwgenError
from hwgen.common.tools import Tool
from hwgen.flows.design import Target
from hwgen.flows.flow import Job, Report
from hwgen.flows.tools import step
from hwgen.flows.vitis import SCRIPTS, synthesis
from hwgen.machine.devices import Usage

__all__ = ["Vitis", "usage_of"]

#: Where no clock is asked for.
MHZ = 200.0
#: Resource → its names in reports; DSP48E before 2020.1.
NAMES = {"dsp": ("DSP", "DSP48E"), "lut": ("LUT",), "ff": ("FF",), "bram18": ("BRAM_18K",), "uram": ("URAM",)}


class Vitis:
    """Needs Vitis: `vitis_hls`, or a `v++` of the unified flow."""

    name = "vitis"
    families = ("xcup", "xc7")
    device = "xczu9eg"
    hls = True

    def tools(self) -> list[Tool]:
        for name, option in (("vitis_hls", "-version"), ("v++", "--version")):
            if program := shutil.which(name):
                return [Tool(name, Path(program), _version(program, option))]
        raise HwgenError(
            "vitis", expected="the program `vitis_hls` or `v++` on PATH", found="neither",
            mend="take the build to a machine that has one; in the build's directory: vitis_hls -f "
            f"{SCRIPTS}/run_hls.tcl steps=csynth",
        )  # fmt: skip

    def run(self, job: Job) -> Report:
        (tool,) = self.tools()
        target = Target(job.top, "", job.device, round(1e6 * (job.mhz or MHZ)))
        job.say("Vitis HLS, C synthesis", 0, 1)
        sources = sorted(name for name in job.hls if name.endswith(".cpp"))
        inputs = {f"src/{name}": text for name, text in job.hls.items()}
        inputs |= {f"vitis/{name}": text for name, text in synthesis(target, sources).items()}
        if tool.name == "vitis_hls":
            arguments, solution = ["-f", "vitis/run_hls.tcl", "steps=csynth"], "vitis/build/hwgen/solution"
        else:
            arguments = ["-c", "--mode", "hls", "--config", "vitis/hls_config.cfg", "--work_dir", "work"]
            solution = "work/hls"
        names = {suffix: f"{solution}/syn/report/{job.top}_csynth.{suffix}" for suffix in ("rpt", "xml")}
        home = step(tool, arguments, inputs, list(names.values()))
        job.say("Vitis HLS, C synthesis", 1, 1)
        total, period = usage_of((home / names["xml"]).read_text("utf-8", "replace"))
        return Report(
            flow=self.name, device=job.device.name, tools={tool.name: tool.version}, total=total,
            fmax={job.seeds[0]: round(1000 / period, 1)},
            files={f"vitis_csynth.{suffix}": home / file for suffix, file in names.items()},
        )  # fmt: skip


def usage_of(report: str) -> tuple[Usage, float]:
    """Of TOP_csynth.xml, which counts all that is below the top function, too: what it takes; its period in ns."""
    try:
        root = ElementTree.fromstring(report)
        resources = root.find("AreaEstimates/Resources")
        period = float(root.findtext("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod", ""))
        if resources is None or period <= 0:
            raise ValueError
        counts = {
            kind: float(next((text for name in names if (text := resources.findtext(name)) is not None), "0"))
            for kind, names in NAMES.items()
        }
    except (ElementTree.ParseError, ValueError):
        raise HwgenError(
            "vitis", "C synthesis", expected="a report with resources and a clock", found="one of another layout",
            mend="please report it as a bug, with the version of Vitis",
        ) from None  # fmt: skip
    blocks = counts.pop("bram18") / 2
    return Usage(bram36=blocks, **counts), period


def _version(program: str, option: str) -> str:
    """What the tool calls its version: "v2023.2 (64-bit)"."""
    said = subprocess.run(
        [program, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    ).stdout  # fmt: skip
    found = re.search(r"\bv\d{4}\.\d.*", said)
    return found[0].strip() if found else "unknown version"
