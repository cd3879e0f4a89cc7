"""`hwgen info`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hwgen.cli.console import out
from hwgen.cli.resources import over_text, show_usage
from hwgen.cli.tables import show_estimates, show_warning
from hwgen.common.errors import HwgenError

if TYPE_CHECKING:
    from hwgen.cli.source import Source
    from hwgen.estimate.board import Attached
    from hwgen.machine.devices import Device


def info(
    path: Annotated[
        Path, typer.Argument(help="A directory written by `hwgen build`, a config.yaml, or a quantized description.")
    ],
    model: Annotated[str | None, typer.Option(help="Name of the model, where there are several.")] = None,
    program: Annotated[bool, typer.Option("--program", help="List the instructions.")] = False,
    latency: Annotated[int, typer.Option(min=0, max=100_000, help="Memory latency of the estimate, in cycles.")] = 40,
    board: Annotated[str | None, typer.Option(help="Board whose memory and device the estimate is for.")] = None,
    clock: Annotated[float | None, typer.Option(min=1, max=1000, help="MHz on that board; default: its usual.")] = None,
) -> None:
    """What is in a build, a configuration or a description; what a run is estimated to cost."""
    from hwgen.build import MANIFEST, load_build
    from hwgen.cli.source import of_build, of_project
    from hwgen.compiler import compile_model, disassemble
    from hwgen.config import is_config, load_project
    from hwgen.estimate.board import attach
    from hwgen.estimate.cycles import estimate
    from hwgen.machine.devices import find_board
    from hwgen.machine.isa import BYTES
    from hwgen.network import description
    from hwgen.network.macs import macs

    compiled = source = None
    on = find_board(board) if board else None
    if (path / MANIFEST).exists():
        made = load_build(path, model)
        desc, p, compiled = made.model, made.params, made.compiled
        title, source = f"accelerator, build {made.manifest['build_hash']}", of_build(made)
    elif is_config(path):
        project = load_project(path)
        desc, p, title, source = project.model(model), project.params, "accelerator", of_project(project)
        compiled = compile_model(desc, p, project.config.batch)
    else:
        desc = description.load(path)
    option = "--program" if program else "--board" if on else ""
    if source is None and option:
        raise HwgenError(
            str(path),
            option,
            expected="a directory written by `hwgen build`, or a config.yaml",
            found="a description",
            mend="a program exists for a build only" if program else "a description says nothing of an array",
        )
    if compiled is not None:
        table = Table(title=title, show_header=False)
        for name, value in (p.as_dict() | {"batch": compiled.batch}).items():
            table.add_row(name, str(value))
        out.print(table)
    structure = desc.model
    experts = sum(layer.mlp.kind == "moe" for layer in structure.layers)
    out.print(
        f"model {structure.name}: {structure.tokens} tokens of {structure.dim}, "
        f"{len(structure.layers)} layers ({experts} with experts), "
        f"{structure.heads} heads of {structure.head_dim}"
    )
    table = Table("task", "head", "outputs", "MACs per image")
    for task in structure.tasks:
        table.add_row(task.name, task.head, str(task.outputs or "-"), f"{macs(desc, task.name):,}")
    out.print(table)
    if compiled is None or source is None:
        return
    device = on.device if on else source.device
    _show_resources(source, device)
    attached = attach(p, on, clock and 1e6 * clock) if on else None
    slower = replace(p, data_bus=min(p.data_bus, attached.data.bits)) if attached else p
    guesses = {
        task.name: estimate(compiled, task.name, slower, latency=latency,
                            weight_rate=attached.weight_rate if attached else None)
        for task in structure.tasks
    }  # fmt: skip
    loads = ", an eighth of the experts without tokens" if experts else ""
    out.print(f"estimate per image, memory latency {latency}{loads}:", highlight=False)
    show_estimates(guesses, {name: macs(desc, name) / p.macs for name in guesses}, compiled.batch)
    if attached:
        _show_board(attached, {name: guess.cycles / compiled.batch for name, guess in guesses.items()})
    if program:
        for name, instructions in compiled.instructions.items():
            out.print(f"task {name}:")
            entry = compiled.entries[name]
            comments = {entry + i * BYTES: instr.name for i, instr in enumerate(instructions)}
            data = compiled.program[: entry + len(instructions) * BYTES]
            for line in disassemble(data, comments)[entry // BYTES :]:
                print(line)


def _show_resources(source: Source, device: Device | None) -> None:
    """The estimate, beside the device if there is one; a warning if that has too little."""
    from hwgen.config import check_device
    from hwgen.estimate.resources import estimate_resources, total

    if device is not None:
        check_device(source.params, device, "the accelerator")
    family = device.family if device else "xcup"
    units = estimate_resources(source.params, family, ultra=device is not None and device.uram > 0)
    need = total(units)
    show_usage(f"estimate of resources, {device.name if device else 'UltraScale+'}", units, need, device)
    if device is not None and (missing := over_text(need, device)):
        show_warning(f"{missing}: {source.advice(device)}")


def _show_board(on: Attached, cycles: Mapping[str, float]) -> None:
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
