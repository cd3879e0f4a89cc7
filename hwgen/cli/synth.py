"""`hwgen synth`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwgen.cli.console import progress_bars, progress_steps, write_json
from hwgen.cli.resources import shown_over

if TYPE_CHECKING:
    pass

#: Marks a directory that `--output` has written.
REPORT = "report.json"


def synth(
    path: Annotated[Path, typer.Argument(help="A config.yaml, or a directory written by `hwgen build`.")],
    flow: Annotated[str, typer.Option(help="yosys, nextpnr-ecp5, nextpnr-nexus, ...")] = "yosys",
    device: Annotated[
        str | None, typer.Option(help="Device or board; default: `device` of the configuration, else the flow's.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Placements to try; their clocks and the median.")] = 1,
    mhz: Annotated[float | None, typer.Option(min=1, max=1000, help="Clock to aim at, where the flow places.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Tools at a time; default: cores.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write report, log and bitstream into this directory.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report in the output directory.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
) -> None:
    """Synthesize an accelerator with the tools installed here; what it takes of a device."""
    from hwgen.build import MANIFEST, check_output, load_build
    from hwgen.config import check_device, load_project
    from hwgen.flows.flow import Job
    from hwgen.flows.registry import find_flow, flow_device
    from hwgen.rtl import emit

    chosen = find_flow(flow)
    built = (path / MANIFEST).exists()
    if path.is_dir() and not built:
        load_build(path)  # says what is wrong with it
    project = None if built else load_project(path)
    config_device = project.device if project else None
    target = flow_device(chosen, device or (config_device.name if config_device else None))
    params = load_build(path).params if built else project.params  # type: ignore[union-attr]
    check_device(params, target, str(path))
    chosen.tools()
    if output is not None:
        check_output(output, REPORT, force)
    if built:
        verilog = load_build(path).verilog
    else:
        with progress_steps() as say:
            say("generate Verilog")
            verilog = emit.accelerator_verilog(params)
    with progress_bars() as progress:
        report = chosen.run(Job(
            verilog, emit.TOP, target, progress, jobs=jobs or os.cpu_count() or 1, seeds=tuple(range(1, seeds + 1)),
            mhz=mhz,
        ))  # fmt: skip
    over = report.total.over(target)
    result = report.as_dict() | {"available": _available(target), "over": over}
    if json_file is not None:
        write_json(json_file, result)
    if output is not None:
        _write(output, force, report, result)
    _show(report, target)
    if over:
        shown_over(over, report.total, target, project)


def _available(target: Any) -> dict[str, int]:
    from hwgen.machine.devices import RESOURCES

    return {name: getattr(target, name) for name in RESOURCES}
