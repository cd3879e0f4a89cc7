"""`hwgen explore`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from hwgen.cli.console import out, progress_bars
from hwgen.cli.tables import show_note, show_warning
from hwgen.common.errors import COMMAND_LINE, HwgenError

if TYPE_CHECKING:
    from hwgen.config import Project
    from hwgen.explore.evaluate import Design
    from hwgen.machine.devices import Board


class Objective(enum.StrEnum):
    """What is to be best."""

    LATENCY = "latency"
    FPS = "fps"
    FPS_PER_DSP = "fps-per-dsp"
    ENERGY = "energy"


#: Designs in the table; columns that are there though all have the same.
SHOWN = 10
ALWAYS = {"array", "ms", "frames/s", "used", "DSP", "BRAM36", "kLUT"}


def explore(
    config: Annotated[Path, typer.Argument(help="config.yaml: the models, and what the space does not say.")],
    space: Annotated[Path | None, typer.Option(help="space.yaml: lists of what to try (docs/exploring.md).")] = None,
    fit: Annotated[
        str | None, typer.Option(help="Board: the best array for it, of all; the same as --board without --space.")
    ] = None,
    board: Annotated[str | None, typer.Option(help="Board whose device and memory the designs must do with.")] = None,
    clock: Annotated[
        float | None, typer.Option(min=1, max=1000, help="MHz; default: the board's usual, without one 200.")
    ] = None,
    objective: Annotated[Objective, typer.Option(help="What is to be best.")] = Objective.LATENCY,
    latency: Annotated[int, typer.Option(min=0, max=100_000, help="Memory latency in cycles.")] = 100,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory of the results; one that has some is gone on with.")
    ] = Path("explore"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, in place of processes.")] = None,
    verify: Annotated[int, typer.Option(min=0, help="Build and simulate so many of the best.")] = 0,
) -> None:
    """Estimate many designs for the models, and find the best: cycles, resources, energy; a page, CSV, JSON."""
    from hwgen import api
    from hwgen.machine.devices import find_board

    if fit and board and fit != board:
        raise HwgenError(COMMAND_LINE, "--fit", expected="one board", found=f"{fit} and --board {board}")
    on = find_board(fit or board or "") if fit or board else None
    if space is None and on is None:
        raise HwgenError(COMMAND_LINE, "--space", expected="a space.yaml, or a board to fit", found="neither",
                         mend="add --space space.yaml or --fit zcu102")  # fmt: skip
    project = api.project(config)
    with progress_bars() as progress:
        designs = api.designs(
            project, output, space=space, board=on, clock=clock, latency=latency, workers=workers, scheduler=scheduler,
            progress=progress, note=show_note,
        )  # fmt: skip
    _finish(project, designs, on, latency, objective.value, output, verify)


def _finish(project: Project, designs: list[Design], on: Board | None, latency: int, objective: str, output: Path,
            verify: int) -> None:  # fmt: skip
    """Files and the table."""
    from hwgen.explore.chosen import write_config, write_designs
    from hwgen.explore.front import best, front

    write_designs(designs, output)
    good, chosen = best(designs, objective), front(designs, objective)
    refused = [one for one in designs if one.refused]
    text = (f"{len(designs):,} designs: {len(good):,} to choose from, {sum(not one.fits for one in designs):,} do not "
            f"fit, {len(refused):,} cannot be; {len(chosen):,} on the front")  # fmt: skip
    out.print(text, highlight=False)
    if not good:
        why = f"first refusal: {refused[0].refused}" if refused else "none fits the device"
        raise HwgenError(str(output), expected="a design to choose from", found=why, mend="widen the space")
    _show(chosen[:SHOWN], objective)
    files = [write_config(project, chosen[0], on, output / "config.yaml"), output / "designs.csv",
             output / "designs.json"]  # fmt: skip
    try:
        from hwgen.explore.page import page
        from hwgen.report.embed import write_page

        name = ", ".join(one.model.name for one in project.models)
        said = f"{text}. Estimated, memory latency {latency} cycles{f', on {on.name}' if on else ''}."
        write_page(output / "explore.html", page(designs, objective, name, said))
        files.append(output / "explore.html")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "bokeh":
            raise
        show_note("no page: pip install 'hwgen[report]'")
    for file in files:
        out.print(escape(str(file)), soft_wrap=True, highlight=False)
    if verify:
        _verify(project, chosen[:verify], on, latency, output)


def _show(designs: list[Design], objective: str) -> None:
    """What of a design differs from the next, in eighty columns; the rest is in the files."""
    rows = []
    for one in designs:
        at, need = one.point, one.resources
        rows.append({
            "model": at.model, "array": f"{at.t}×{at.c}×{at.k}", "weights": f"{at.weight_ports}×{at.weights}",
            "data": str(at.data), "ring": str(at.weight_depth or "auto"), "batch": str(at.batch),
            "bits": str(at.weight_bits or "-"), "ms": f"{one.ms:.3f}", "frames/s": f"{one.fps:,.1f}",
            "used": f"{one.utilization:.0%}", "DSP": f"{need['dsp']:.0f}", "BRAM36": f"{need['bram36']:.0f}",
            "kLUT": f"{need['lut'] / 1000:.0f}",
        })  # fmt: skip
    table = Table(title=f"The best by {objective}", box=SIMPLE, padding=(0, 1, 0, 0))
    shown = [name for name in rows[0] if name in ALWAYS or len({row[name] for row in rows}) > 1
             or (name == "bits" and rows[0]["bits"] != "-")]  # fmt: skip
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    out.print(table)


def _verify(project: Project, designs: list[Design], on: Board | None, latency: int, output: Path) -> None:
    """Exit code 1 if a bit differs."""
    from hwgen.explore.chosen import write_config
    from sim.picks import verify

    table = Table("design", "measured cycles", "estimated", "error", "bits", title="Simulated")
    same = True
    for number, design in enumerate(designs, 1):
        folder = output / f"pick-{number}"
        config = write_config(project, design, on, folder / "config.yaml")
        with progress_bars() as progress:
            found = verify(config, folder / "out", latency, progress)
        at, same = design.point, same and found.identical
        table.add_row(f"{at.t} × {at.c} × {at.k}, {at.model}", f"{found.measured:,.0f}", f"{found.estimated:,.0f}",
                      f"{found.error:+.2%}", "identical" if found.identical else "[red]differ[/]")  # fmt: skip
    out.print(table)
    if not same:
        show_warning("a bit differs from the golden model: please report this as a bug")
        raise typer.Exit(1)
