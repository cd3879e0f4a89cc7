"""`hwgen info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hwgen.cli.console import out
from hwgen.cli.options import Preset
from hwgen.common.errors import COMMAND_LINE, HwgenError

if TYPE_CHECKING:
    from hwgen.compiler import Compiled


def info(
    path: Annotated[
        Path, typer.Argument(help="A directory written by `hwgen build`, a config.yaml, or a quantized description.")
    ],
    preset: Preset = None,
    model: Annotated[str | None, typer.Option(help="Name of the model, where there are several.")] = None,
    program: Annotated[bool, typer.Option("--program", help="List the instructions.")] = False,
    latency: Annotated[int, typer.Option(min=0, max=100_000, help="Memory latency of the estimate, in cycles.")] = 40,
    board: Annotated[str | None, typer.Option(help="Board whose memory and device the estimate is for.")] = None,
    clock: Annotated[float | None, typer.Option(min=1, max=1000, help="MHz on that board; default: its usual.")] = None,
) -> None:
    """What is in a build, a configuration or a description; what a run is estimated to cost."""
    from hwgen.build import MANIFEST, load_build
    from hwgen.cli.resources import show_costs
    from hwgen.cli.source import of_build, of_project, open_project
    from hwgen.compiler import compile_model
    from hwgen.config import is_config
    from hwgen.machine.devices import find_board
    from hwgen.machine.interfaces import masters
    from hwgen.network import description
    from hwgen.network.macs import macs

    compiled = source = None
    on = find_board(board) if board else None
    if clock and on is None:
        raise HwgenError(COMMAND_LINE, "--clock", expected="--board beside it", found="no board", mend="add --board")
    if preset and (path / MANIFEST).exists():
        raise HwgenError(COMMAND_LINE, "--preset", expected="a config.yaml or a description, which have no array yet",
                         found=f"the build {path}", mend="leave --preset out")  # fmt: skip
    if (path / MANIFEST).exists():
        made = load_build(path, model)
        desc, p, compiled = made.model, made.params, made.compiled
        title, source = f"accelerator, build {made.manifest['build_hash']}", of_build(made)
    elif preset or is_config(path):
        project = open_project(path, preset)
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
            mend=("a program exists for a build only" if program else "a description says nothing of an array")
            + ": build it, or add --preset",
        )
    if compiled is not None:
        table = Table(title=title, show_header=False)
        for name, value in (p.as_dict() | {"batch": compiled.batch}).items():
            table.add_row(name, str(value))
        table.add_row("blocks", compiled.blocks.text(desc, compiled.batch))
        for master in masters(p):
            table.add_row(master.name, f"{master.data_bits} bits, {master.what}")
        out.print(table)
    structure = desc.model
    experts = sum(layer.mlp.kind == "moe" for layer in structure.layers)
    out.print(
        f"model {structure.name}: {structure.tokens} tokens of {structure.dim}, "
        f"{len(structure.layers)} layers ({experts} with experts), "
        f"{structure.heads} heads of {structure.head_dim}"
    )
    table = Table("task", "head", "int16 outputs", "scale", "unit", "MACs per image")
    for task in structure.tasks:
        shape, scale = " × ".join(map(str, structure.output_shape(task))), structure.output_scale(task)
        table.add_row(task.name, task.head, shape, f"{scale:.6g}" if scale else "-",
                      structure.output_unit(task), f"{macs(desc, task.name):,}")  # fmt: skip
    out.print(table)
    if compiled is None or source is None:
        return
    show_costs(source, desc, compiled, on, clock, latency)
    if program:
        _show_program(compiled)


def _show_program(compiled: Compiled) -> None:
    from hwgen.compiler import disassemble
    from hwgen.machine.isa import BYTES

    for name, instructions in compiled.instructions.items():
        out.print(f"task {name}:")
        entry = compiled.entries[name]
        comments = {entry + i * BYTES: instr.name for i, instr in enumerate(instructions)}
        data = compiled.program[: entry + len(instructions) * BYTES]
        for line in disassemble(data, comments, entry):
            print(line)
