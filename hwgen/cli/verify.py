"""`hwgen verify`. Tested by tests/verify/test_check.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from hwgen.cli.console import out, progress_bars, write_json
from hwgen.cli.tables import show_note, show_warning

if TYPE_CHECKING:
    from hwgen.verify.run import Outcome

#: Faults that are listed; the others are in the file.
LISTED = 10


def verify(
    cases: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same cases.")] = 1,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory of the results; one that has some is gone on with.")
    ] = Path("verify"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, in place of processes.")] = None,
) -> None:
    """Draw random networks, machines and memories, simulate the Verilog and compare every bit with the golden model."""
    from hwgen.common.toolchain import find_verilator
    from hwgen.verify.draw import PER_MACHINE
    from hwgen.verify.run import Outcomes
    from hwgen.verify.run import verify as run

    if scheduler is None:
        find_verilator()
    store = Outcomes(output, seed)
    known = sum(number < cases for number in store.known)
    if known:
        show_note(f"{known:,} of {cases:,} cases are known from before")
    try:
        with progress_bars() as progress:
            outcomes = run(seed, cases, store, output, workers=workers, scheduler=scheduler,
                           progress=lambda done, total: progress("cases", done, total))  # fmt: skip
    finally:
        store.close()
    machines = len({one.number // PER_MACHINE for one in outcomes})
    out.print(f"{cases:,} cases of seed {seed} on {machines:,} machines ({PER_MACHINE} a machine), all of them in the "
              "emitted Verilog by Verilator: every output and intermediate tensor", highlight=False)  # fmt: skip
    _show_coverage(outcomes, output)
    _show_speed(outcomes)
    faults = [one for one in outcomes if one.fault]
    refused = [one for one in outcomes if one.refused]
    if refused:
        show_note(f"{len(refused):,} networks were refused, the first: {refused[0].refused}")
    for one in faults[:LISTED]:
        assert one.fault is not None
        show_warning(f"case {one.number}, {one.fault['kind']}: {one.fault['text']}\n  minimised: hwgen sim {one.saved}")
    if faults:
        show_warning(f"{len(faults):,} of {cases:,} cases fail: please report this as a bug")
        raise typer.Exit(1)
    out.print("no case fails")


def _show_coverage(outcomes: list[Outcome], output: Path) -> None:
    """Also as `coverage.json`."""
    from dataclasses import asdict

    from hwgen.verify.cover import coverage

    rows = coverage(one.facts for one in outcomes if one.facts)
    table = Table("field", "values", "extremes, or each (cases)", title="What was covered", box=SIMPLE)
    for row in rows:
        table.add_row(escape(row.name), f"{row.values:,}", escape(row.text()))
    out.print(table)
    write_json(output / "coverage.json", {row.name: asdict(row) for row in rows})


def _show_speed(outcomes: list[Outcome]) -> None:
    """Of the workers: time that passed, and time that their processors were at it."""
    seconds, cpu = sum(one.seconds for one in outcomes), sum(one.cpu for one in outcomes)
    out.print(f"{3600 * len(outcomes) / max(seconds, 1e-9):,.0f} cases per hour and worker, "
              f"{3600 * len(outcomes) / max(cpu, 1e-9):,.0f} per hour of processor time", highlight=False)  # fmt: skip
