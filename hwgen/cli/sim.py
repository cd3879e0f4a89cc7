"""`hwgen sim`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hwgen.cli.console import check_place, out, progress_bars, write_json
from hwgen.cli.tables import show_note, show_report


class Engine(enum.StrEnum):
    """What runs the Verilog, or the C++ in its place."""

    HARNESS = "harness"
    COCOTB = "cocotb"
    ICARUS = "icarus"
    HLS = "hls"


def sim(
    output: Annotated[Path, typer.Argument(help="A directory written by `hwgen build`.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Task to run, more than once for several; default: all in turn.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model, where the build has several.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="How many images; default: 4.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="harness: fast C++; cocotb: slow, AXI models of cocotbext-axi; icarus: these with X; "
                              "hls: C-simulation of the sources for Vitis HLS.")
    ] = Engine.HARNESS,
    trace: Annotated[
        bool, typer.Option("--trace", help="Write a waveform: OUT/trace.fst, or trace.vcd where FST is not to be had.")
    ] = False,
    latency: Annotated[
        int | None, typer.Option(min=0, max=100_000, help="Memory latency in cycles; default: 40.")
    ] = None,
    stalls: Annotated[
        int | None, typer.Option(min=0, max=95, help="Chance in percent that a port stalls in a cycle; default: 0.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the stalls and of uninitialized memory; default: 1.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the measurements here.")] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="What each cycle of a run went to, in the measurements; without --json "
                           "these are OUT/result.json, where `hwgen report` looks for them.")
    ] = False,
    perfetto: Annotated[
        Path | None, typer.Option(help="Write the timeline as a trace for ui.perfetto.dev here.")
    ] = None,
) -> None:
    """Run images on the build in Verilator and compare outputs and all intermediate tensors with the golden model.

    A case that `hwgen verify` saved is replayed with its own images and memory, where no option says otherwise.
    """
    from hwgen.api import simulate
    from hwgen.build import load_build
    from hwgen.common.toolchain import APT_FST, FST_HEADERS, trace_format
    from hwgen.report.perfetto import write_trace
    from hwgen.report.result import RESULT
    from sim.replay import setting

    check_place(json_file, "--json")
    check_place(perfetto, "--perfetto")
    made = load_build(output, model)
    count, timing = setting(output, images, latency=latency, stall_percent=stalls, seed=seed)
    waveform = output / f"trace.{trace_format() if engine is Engine.HARNESS else 'vcd'}" if trace else None
    with progress_bars() as progress:
        report = simulate(
            made, count, tasks=task, timing=timing, engine=engine.value, trace=waveform,
            timeline=timeline or perfetto is not None, progress=progress, note=show_note,
        )  # fmt: skip
    result = report.as_dict()
    json_file = json_file or (output / RESULT if timeline else None)
    if json_file is not None:
        write_json(json_file, result, compact=timeline)
    if perfetto is not None:
        write_trace(perfetto, [one.timeline for one in report.tasks.values() if one.timeline])
    show_report(result)
    for what, path in (("measurements", json_file), ("trace", perfetto)):
        if path is not None:
            out.print(f"{what}: {escape(str(path))}", soft_wrap=True, highlight=False)
    if waveform is not None:
        out.print(f"waveform: {escape(str(waveform))}", soft_wrap=True, highlight=False)
        if engine is Engine.HARNESS and waveform.suffix == ".vcd":
            out.print(f"VCD, as g++ does not find {' and '.join(FST_HEADERS)}; for FST: {APT_FST}", highlight=False)
    if not report.identical:
        raise typer.Exit(1)
