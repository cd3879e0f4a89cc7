"""`hwgen report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hwgen.cli.console import check_place, out, progress_steps
from hwgen.cli.tables import show_note
from hwgen.common.errors import HwgenError


def report(
    output: Annotated[Path, typer.Argument(metavar="BUILD", help="A directory written by `hwgen build`.")],
    run: Annotated[
        Path | None, typer.Option(help="Measurements of `hwgen sim --timeline`; default: BUILD/result.json.")
    ] = None,
    quantization: Annotated[
        Path | None, typer.Option(help="What `hwgen quantize --report` wrote: accuracy, noise of each tensor.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write; default: BUILD/report.html.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model, where the build has several.")] = None,
    board: Annotated[str | None, typer.Option(help="Board whose device and clock the figures are for.")] = None,
    clock: Annotated[
        float | None, typer.Option(min=1, max=1000, help="MHz; default: the board's usual, without one 200.")
    ] = None,
) -> None:
    """Write one HTML page of a build: cycles, timeline, roofline, memory, experts, accuracy. It needs no network."""
    try:
        from hwgen.report.page import page as made_page
        from hwgen.report.page import write_page
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "bokeh":
            raise
        raise HwgenError("bokeh", expected="the Python package that draws the plots", found="not installed",
                         mend="pip install 'hwgen[report]'") from None  # fmt: skip
    from hwgen.build import load_build
    from hwgen.cli.source import of_build
    from hwgen.machine.devices import find_board
    from hwgen.report.cards import CLOCK
    from hwgen.report.result import RESULT, read_cost, read_run

    made = load_build(output, model)
    page = page or output / "report.html"
    check_place(page, "--output")
    on = find_board(board) if board else None
    mhz = clock or (on.clock / 1e6 if on else CLOCK)
    found = run or (output / RESULT if (output / RESULT).exists() else None)
    measured = read_run(found, made) if found else None
    cost = read_cost(quantization, made) if quantization else None
    with progress_steps() as say:
        text = made_page(made, measured, cost, device=on.device if on else of_build(made).device, mhz=mhz, progress=say)
        write_page(page, text)
    out.print(f"{escape(str(page))}: {len(text.encode()) / 1e6:.1f} MB", soft_wrap=True, highlight=False)
    without = [task for task, one in measured.tasks.items() if one.timeline is None] if measured else ["all tasks"]
    if without:
        names = ", ".join(without)
        show_note(f"the timeline of {names} is the cycle model's; simulated: hwgen sim {output} --timeline")
