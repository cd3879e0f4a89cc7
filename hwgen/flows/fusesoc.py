"""The FuseSoC core of a build: lint, a simulation that checks itself, synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hwgen
from hwgen.flows.design import DEBUG, Design
from hwgen.flows.render import render
from hwgen.flows.vectors import TaskRun, Vectors
from hwgen.machine.emission import TOP
from hwgen.machine.interfaces import weight_files

__all__ = ["FOLDER", "write"]

FOLDER = "fusesoc"
#: Where the simulation's memory begins, and what is free behind each region. Above 4 GiB narrow addresses show.
ORIGIN, GUARD = 0x8_0000_0000, 4096


@dataclass(frozen=True)
class Region:
    """Bytes in the simulation's memory, and the file they come from, as the simulation sees it."""

    base: int
    size: int
    file: str = ""


def write(build: Path, design: Design, run: Vectors) -> None:
    """Write TOP.core and `fusesoc/` into the directory `build`."""
    home = build / FOLDER
    home.mkdir()
    (home / "input.bin").write_bytes(run.input)
    for task in run.tasks:
        (home / _expected(task)).write_bytes(task.expected)
    weights = weight_files(design.params)
    (home / "jobs.txt").write_text(_jobs(run, weights))
    header = f"V{TOP}.h" if design.top != TOP else ""
    core = render(
        "fusesoc/accelerator.core", design=design, version=hwgen.__version__, header=header, weights=weights,
        expected=[_expected(task) for task in run.tasks],
        debug=any(port.name.startswith(DEBUG) for port in design.ports),
    )  # fmt: skip
    (build / f"{design.top}.core").write_text(core)
    (home / "synth.tcl").write_text(render("fusesoc/synth.tcl"))
    if header:
        (home / header).write_text(render("fusesoc/prefixed.h", design=design))


def _expected(task: TaskRun) -> str:
    return f"expected_{task.name}.bin"


def _jobs(run: Vectors, files: Sequence[str]) -> str:
    """The job file of the harness; see `read_jobs` in templates/harness/jobs.h."""
    shares = [(file, len(share)) for file, share in zip(files, run.weights, strict=True)]
    placed = _placed([("program.bin", len(run.program)), ("input.bin", len(run.input)), *shares,
                      *(("", task.size) for task in run.tasks)])  # fmt: skip
    program, data, *others = placed
    return render(
        "fusesoc/jobs.txt", origin=ORIGIN, bytes=placed[-1].base + placed[-1].size + GUARD - ORIGIN, program=program,
        input=data, weights=others[: len(files)], runs=list(zip(run.tasks, others[len(files) :], strict=True)),
        expected=_expected,
    )  # fmt: skip


def _placed(regions: list[tuple[str, int]]) -> list[Region]:
    """Files and sizes, one behind the other."""
    at, placed = ORIGIN, []
    for file, size in regions:
        placed.append(Region(at, size, file))
        at = -(-(at + size + GUARD) // 4096) * 4096
    return placed
