"""What the report reads: measurements of `hwgen sim --json`, the quantizer's report of `hwgen quantize --report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from hwgen.build import Build
from hwgen.common.errors import HwgenError
from hwgen.common.json_file import read_json
from hwgen.common.strict_yaml import Read, validate
from hwgen.report.timeline import Timeline, check

__all__ = ["RESULT", "Cost", "Run", "TaskRun", "read_cost", "read_run"]

#: Where `hwgen sim --timeline` writes its measurements in a build, and `hwgen report` looks for them.
RESULT = "result.json"


class Cycles(Read):
    mean: float = Field(gt=0)
    min: float
    max: float


class TaskRun(Read):
    """A task's measurements: means of an image."""

    images: int = Field(ge=1)
    bit_identical: bool
    accuracy: float | None
    cycles_per_image: Cycles
    macs_per_image: int
    array_utilization: float
    counters: dict[str, float]
    experts: dict[str, list[float]] = {}
    timeline: Timeline | None = None


class Run(Read):
    """The measurements of `hwgen sim`."""

    model: str | None = None  #: None: of an earlier hwgen
    engine: str
    parameters: dict[str, Any]
    latency: int
    stall_percent: int
    tasks: dict[str, TaskRun] = Field(min_length=1)


class TensorCost(Read):
    sqnr_db: float | None
    clipped_share: float
    clipped_error_share: float


class TaskCost(Read):
    """Of a task: noise of its output, metrics of the float network and of the integers where labels were given."""

    sqnr_db: float | None
    same_class_share: float | None = None
    float_: dict[str, float] = Field(default={}, alias="float")
    integer: dict[str, float] = {}


class Cost(Read):
    """What quantization costs, from `hwgen quantize --report`."""

    model: str
    images: int
    tasks: dict[str, TaskCost]
    tensors: dict[str, TensorCost] = Field(min_length=1)


Checked = TypeVar("Checked", bound=BaseModel)


def read_run(path: Path, build: Build) -> Run:
    """Raises HwgenError unless these are measurements of the build's Verilog, on its model."""
    run = _read(path, Run, "hwgen sim BUILD --timeline")
    mend = f"hwgen sim {build.path} --timeline --json {path}"
    if run.engine == "hls":
        raise HwgenError(str(path), "engine", expected="a run of the Verilog", found="C-simulation: it has no cycles",
                         mend=mend)  # fmt: skip
    name = build.model.model.name
    if run.model not in (None, name):
        raise HwgenError(str(path), "model", expected=name, found=run.model or "", mend=mend)
    if run.parameters != build.params.as_dict():
        differing = [name for name, value in build.params.as_dict().items() if run.parameters.get(name) != value]
        raise HwgenError(str(path), "parameters", expected=f"those of the build {build.path}",
                         found=f"others: {', '.join(differing) or 'more of them'}", mend=mend)  # fmt: skip
    names = [task.name for task in build.model.model.tasks]
    for task, one in run.tasks.items():
        if task not in names:
            raise HwgenError(str(path), "tasks", expected=" or ".join(names), found=task, mend=mend)
        if one.timeline is None:
            continue
        where = f"{path}: tasks.{task}.timeline"
        check(one.timeline, where)
        program = [instr.name for instr in build.compiled.instructions[task]]
        if one.timeline.instructions.name != program:
            raise HwgenError(where, "instructions", expected=f"the program of the build, {len(program)} instructions",
                             found=f"another one, of {len(one.timeline.instructions.name)}", mend=mend)  # fmt: skip
    return run


def read_cost(path: Path, build: Build) -> Cost:
    """Raises HwgenError unless it is a report of the build's model."""
    cost = _read(path, Cost, "hwgen quantize ... --report FILE")
    name = build.model.model.name
    if cost.model != name:
        raise HwgenError(str(path), "model", expected=name, found=cost.model, mend="name the report of this model")
    return cost


def _read(path: Path, type_: type[Checked], maker: str) -> Checked:
    return validate(type_, read_json(path, f"JSON, written by `{maker}`", ""), str(path))
