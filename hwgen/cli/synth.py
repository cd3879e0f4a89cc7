"""`hwgen synth`."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hwgen.cli.console import out, progress_bars, progress_steps, write_json
from hwgen.cli.tables import show_warning

if TYPE_CHECKING:
    from hwgen.cli.source import Source
    from hwgen.flows.flow import Report
    from hwgen.machine.devices import Device

#: Marks a directory that `--output` has written.
REPORT = "report.json"


def synth(
    path: Annotated[Path, typer.Argument(help="A config.yaml, or a directory written by `hwgen build`.")],
    flow: Annotated[str, typer.Option(help="yosys, nextpnr-ecp5, nextpnr-nexus, vivado, vitis.")] = "yosys",
    device: Annotated[
        str | None, typer.Option(help="Device or board; default: `device` of the configuration, else the flow's.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Placements to try; their clocks and the median.")] = 1,
    mhz: Annotated[float | None, typer.Option(min=1, max=1000, help="Clock to aim at, where the flow places.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Tools at a time; default: cores.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write report, log and bitstream into this directory.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report in the output directory.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
) -> None:
    """Synthesize an accelerator with the tools that are installed; what it takes of a device."""
    from hwgen.build import new_directory
    from hwgen.cli.resources import over_text
    from hwgen.cli.source import open_source
    from hwgen.config import check_device
    from hwgen.flows.flow import Job
    from hwgen.flows.registry import find_flow, flow_device

    chosen = find_flow(flow)
    source = open_source(path)
    target = flow_device(chosen, device or (source.device.name if source.device else None))
    check_device(source.params, target, source.where)
    hls = source.hls() if chosen.hls else {}
    chosen.tools()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(new_directory(output, REPORT, force=force)) if output else None
        verilog = "" if chosen.hls else _verilog(source)
        with progress_bars() as progress:
            report = chosen.run(Job(
                verilog, source.top, target, progress, jobs=jobs or os.cpu_count() or 1, mhz=mhz,
                seeds=tuple(range(1, seeds + 1)), hls=hls,
            ))  # fmt: skip
        result = _result(report, target)
        if directory is not None:
            write_json(directory / REPORT, result)
            for name, file in report.files.items():
                shutil.copy(file, directory / name)
    if json_file is not None:
        write_json(json_file, result)
    _show(report, target)
    if missing := over_text(report.total, target):
        show_warning(f"{missing}: {source.advice(target)}")
    if output is not None:
        out.print(f"written: {escape(str(output))}", soft_wrap=True, highlight=False)


def _verilog(source: Source) -> str:
    with progress_steps() as say:
        say("generate Verilog")
        return source.verilog()


def _result(report: Report, target: Device) -> dict[str, Any]:
    from hwgen.machine.devices import RESOURCES

    has = {name: getattr(target, name) for name in RESOURCES}
    return report.as_dict() | {"available": has, "over": report.total.over(target)}


def _show(report: Report, target: Device) -> None:
    from hwgen.cli.resources import show_usage

    rows = {
        f"{one.name} × {one.instances}" if one.instances > 1 else one.name: one.usage * one.instances
        for one in report.modules
    }
    tools = ", ".join(f"{name} ({version})" for name, version in report.tools.items())
    show_usage(f"{report.flow}: {tools}", rows, report.total, target)
    if report.levels is not None:
        start, end = report.critical_path
        text = f"longest path: {report.levels} LUTs, {report.longest_path} cells with carries, from {start} to {end}"
        out.print(escape(text), soft_wrap=True, highlight=False)
    if report.largest_nets:
        name, pins = report.largest_nets[0]
        out.print(f"largest net: {pins:,} pins, {escape(name)} (--json has more)", soft_wrap=True, highlight=False)
    if report.latches or report.ff_memories:
        show_warning(f"{report.latches} latches, {report.ff_memories} memories in flip-flops")
    if report.fmax:
        clocks = ", ".join(f"{mhz:g}" for mhz in report.fmax.values())
        median = statistics.median(report.fmax.values())
        out.print(f"clock: {median:g} MHz, median of {len(report.fmax)} seeds ({clocks})", highlight=False)
        if report.critical_path and report.levels is None:
            text = f"slowest path of the fastest: {' to '.join(report.critical_path)}"
            out.print(escape(text), soft_wrap=True, highlight=False)
