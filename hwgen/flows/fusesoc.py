"""The FuseSoC core of a build: lint, a simulation that checks itself, synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import hwgen
from golden.model import Golden
from hwgen.compiler import Compiled
from hwgen.flows.design import DEBUG, Design
from hwgen.flows.render import render
from hwgen.machine.emission import TOP
from hwgen.machine.interfaces import weight_files
from hwgen.network.description import Description

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


def write(build: Path, design: Design, model: Description, compiled: Compiled, images: NDArray[np.uint8]) -> None:
    """Write TOP.core and `fusesoc/` into the directory `build`: every task of the model runs on the images, uint8
    [batch, height, width, channels], and must give what the golden model does."""
    home = build / FOLDER
    home.mkdir()
    golden = Golden(model)
    (home / "input.bin").write_bytes(compiled.pack_input(images))
    for task in compiled.entries:
        (home / _expected(task)).write_bytes(golden.run(images, task).output.astype("<i2").tobytes())
    weights = weight_files(design.params)
    (home / "jobs.txt").write_text(_jobs(compiled, weights))
    header = f"V{TOP}.h" if design.top != TOP else ""
    core = render(
        "fusesoc/accelerator.core", design=design, version=hwgen.__version__, header=header, weights=weights,
        expected=[_expected(task) for task in compiled.entries],
        debug=any(port.name.startswith(DEBUG) for port in design.ports),
    )  # fmt: skip
    (build / f"{design.top}.core").write_text(core)
    (home / "synth.tcl").write_text(render("fusesoc/synth.tcl"))
    if header:
        (home / header).write_text(render("fusesoc/prefixed.h", design=design))


def _expected(task: str) -> str:
    return f"expected_{task}.bin"


def _jobs(compiled: Compiled, files: Sequence[str]) -> str:
    """The job file of the harness; see `read_jobs` in templates/harness/jobs.h."""
    shares = [(file, len(compiled.weights) // len(files)) for file in files]
    tasks = compiled.output_bytes
    placed = _placed([("program.bin", len(compiled.program)), ("input.bin", compiled.input_bytes), *shares,
                      *(("", size) for size in tasks.values())])  # fmt: skip
    program, data, *others = placed
    outputs = dict(zip(tasks, others[len(files) :], strict=True))
    shapes = compiled.output_shapes
    return render(
        "fusesoc/jobs.txt", origin=ORIGIN, bytes=placed[-1].base + placed[-1].size + GUARD - ORIGIN, program=program,
        input=data, weights=others[: len(files)], outputs=outputs, entries=compiled.entries, expected=_expected,
        row_bytes={task: 2 * columns for task, (_, columns) in shapes.items()},
        pitch={task: outputs[task].size // (rows * compiled.batch) for task, (rows, _) in shapes.items()},
    )  # fmt: skip


def _placed(regions: list[tuple[str, int]]) -> list[Region]:
    """Files and sizes, one behind the other."""
    at, placed = ORIGIN, []
    for file, size in regions:
        placed.append(Region(at, size, file))
        at = -(-(at + size + GUARD) // 4096) * 4096
    return placed
