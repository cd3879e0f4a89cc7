"""Where the commands write: two consoles, progress on the one for errors, results for programs as JSON.

Tested by tests/cli/test_quantize.py.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hwgen.common.errors import COMMAND_LINE, HwgenError

out = Console()
err = Console(stderr=True)


def write_json(path: Path, result: dict[str, Any], *, compact: bool = False) -> None:
    """A result for programs; `compact`: in one line, as it has long columns of numbers."""
    try:
        path.write_text(json.dumps(result, indent=None if compact else 1) + "\n")
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be written", found=str(error.strerror)) from None


def check_place(path: Path | None, option: str) -> None:
    """Before long work whose result goes to a file: raises HwgenError if there can be none."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise HwgenError(COMMAND_LINE, option, expected="a file in a directory that exists", found=str(path))


@contextlib.contextmanager
def progress_steps() -> Iterator[Callable[[str], None]]:
    """One line of text at a time, what is being done now."""
    with err.status("") as status:
        yield lambda text: status.update(escape(text))


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Bars from the first call on: what is said before it goes where it always goes."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=err, transient=True)
    rows: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        if not rows:
            bars.start()
        if what not in rows:
            rows[what] = bars.add_task(what, total=total or None)
        bars.update(rows[what], completed=done, total=total or None)

    try:
        yield update
    finally:
        if rows:
            bars.stop()
