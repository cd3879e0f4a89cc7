"""The application: its commands and its entry point.

Wrong input ends with a message on one screen and exit code 2, a failed simulation with 1.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import hwgen
from hwgen.cli import build, doctor, explore, info, quantize, report, run, sim, synth, verify
from hwgen.common.errors import HwgenError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)  # fmt: skip

def _version(wanted: bool) -> None:
    if wanted:
        print(f"hwgen {hwgen.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Accelerators in Verilog for quantized multi-task Vision Transformers with mixture-of-experts."""


# In the order in which `hwgen --help` lists them.
app.command()(build.build)
app.command()(sim.sim)
app.command()(report.report)
app.command()(explore.explore)
app.command()(synth.synth)
app.command()(verify.verify)
app.command()(quantize.quantize)
app.command()(run.run)
app.command()(info.info)
app.command()(doctor.doctor)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
