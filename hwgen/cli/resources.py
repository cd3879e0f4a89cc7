"""Resources beside what a device has: tables, and what to do when it has too little.

Tested by tests/cli/test_synth.py and tests/cli/test_info.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwgen.cli.console import out
from hwgen.machine.devices import RESOURCES, Device, Usage

__all__ = ["count", "over_text", "show_usage"]


def count(value: float) -> str:
    """Whole, or with the half of a half block RAM."""
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def show_usage(title: str, rows: Mapping[str, Usage], total: Usage, device: Device | None,
               console: Console = out) -> None:  # fmt: skip
    """A row per module, their sum, what the device has, the share of it; no column for what nobody has or takes."""
    columns = [name for name in RESOURCES if getattr(total, name) or (device and getattr(device, name))]
    table = Table(title=escape(title))
    table.add_column("")
    for name in columns:
        table.add_column({"bram36": "BRAM36", "uram": "URAM"}.get(name, name.upper()), justify="right")
    for what, usage in rows.items():
        table.add_row(what, *(count(getattr(usage, name)) for name in columns))
    table.add_section()
    table.add_row("all", *(count(getattr(total, name)) for name in columns))
    if device is not None:
        has = [getattr(device, name) for name in columns]
        table.add_row(device.name, *map(count, has))
        table.add_row("share", *(
            f"{getattr(total, name) / there:.0%}" if there else "-" for name, there in zip(columns, has, strict=True)
        ))  # fmt: skip
    console.print(table)


def over_text(need: Usage, device: Device) -> str:
    """What is missing: "needs 1,204 BRAM36 of the 912 of xczu9eg (292 too many)"; empty if nothing is."""
    return "; ".join(
        f"needs {count(getattr(need, name))} {name.upper()} of the {count(getattr(device, name))} of {device.name} "
        f"({count(missing)} too many)"
        for name, missing in need.over(device).items()
    )
