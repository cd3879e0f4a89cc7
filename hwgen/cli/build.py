"""`hwgen build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hwgen.cli.console import out, progress_steps
from hwgen.cli.options import Output, Preset


def build(
    config: Annotated[
        Path, typer.Argument(help="config.yaml: models, array, buses, buffers; with --preset also a description.")
    ],
    output: Output,
    preset: Preset = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier build in the output directory.")] = False,
) -> None:
    """Write an accelerator: Verilog, programs, weights, memory map, register header, harness, tests, README."""
    from hwgen.api import build as run
    from hwgen.cli.source import open_project

    project = open_project(config, preset)
    with progress_steps() as say:
        made = run(project, output, force=force, progress=say)
    p = made.params
    out.print(
        f"{escape(str(output))}: array {p.t} x {p.c} x {p.k}, {p.macs} MACs per cycle, "
        f"build {made.manifest['build_hash']}"
    )
    out.print(f"program {len(made.compiled.program)} bytes, weights {len(made.compiled.weights)} bytes")
