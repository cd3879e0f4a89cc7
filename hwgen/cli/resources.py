"""Costs: resources beside what a device has, cycles beside what a board's memory gives; what to do when it is too much.

Tested by tests/cli/test_synth.py and tests/cli/test_info.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwgen.cli.console import out
from hwgen.cli.source import Source
from hwgen.cli.tables import show_estimates, show_warning
from hwgen.compiler import Compiled
from hwgen.config import check_device
from hwgen.estimate.board import Attached, attach, estimates
from hwgen.estimate.resources import estimate_resources, total
from hwgen.machine.devices import RESOURCES, Board, Device, Usage
from hwgen.network.description import Description
from hwgen.network.macs import macs

__all__ = ["count", "over_text", "show_costs", "show_usage"]


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


def show_costs(source: Source, desc: Description, compiled: Compiled, board: Board | None, mhz: float | None,
               latency: int) -> None:  # fmt: skip
    """What `hwgen info` estimates: resources, cycles of each task, on a board also its memory and milliseconds."""
    p, structure = source.params, desc.model
    show_resources(source, board.device if board else source.device)
    attached = attach(p, board, mhz and 1e6 * mhz) if board else None
    guesses = estimates(compiled, p, latency=latency, on=attached)
    experts = any(layer.mlp.kind == "moe" for layer in structure.layers)
    loads = ", an eighth of the experts without tokens" if experts else ""
    out.print(f"estimate per image, memory latency {latency}{loads}:", highlight=False)
    show_estimates(guesses, {name: macs(desc, name) / p.macs for name in guesses}, compiled.batch)
    if attached:
        show_board(attached, {name: guess.cycles / compiled.batch for name, guess in guesses.items()})


def show_resources(source: Source, device: Device | None) -> None:
    """The estimate, beside the device if there is one; a warning if that has too little."""
    if device is not None:
        check_device(source.params, device, source.where)
    family = device.family if device else "xcup"
    units = estimate_resources(source.params, family)
    need = total(units)
    show_usage(f"estimate of resources, {device.name if device else 'UltraScale+'}", units, need, device)
    if device is not None and (missing := over_text(need, device)):
        show_warning(f"{missing}: {source.advice(device)}")


def show_board(on: Attached, cycles: Mapping[str, float]) -> None:
    """What the memory gives each master, how long an image takes."""
    weights = " + ".join(port.name for port in on.weights)
    board = on.board
    out.print(
        f"{board.name} at {on.clock / 1e6:g} MHz: {board.memory} gives at most {on.memory_rate:.1f} bytes per cycle\n"
        f"  weights: {on.weight_rate:.1f} bytes per cycle over {weights} ({on.weights[0].bits} bits, "
        f"{on.weights[0].protocol}, bursts of up to {on.weights[0].burst} beats)\n"
        f"  program, images, outputs: {on.data_rate:.1f} over {on.data.name} ({on.data.bits} bits)",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    for task, count in cycles.items():
        took = on.milliseconds(count)
        out.print(f"  {task}: {took:.3f} ms per image, {1e3 / took:,.0f} images per second", highlight=False)
