"""What most people need from Python, in one place: `hwgen.load`, `hwgen.quantize`, `hwgen.build`, ... (docs/python.md).

The command line uses the same functions. `import hwgen` reads none of this: a name is looked up when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwgen.build import Build, load_build
from hwgen.build import build as build_project
from hwgen.common.errors import HwgenError
from hwgen.compiler import compile_model
from hwgen.config import Config, Project, is_config, load_project
from hwgen.estimate.cycles import CycleEstimate
from hwgen.estimate.cycles import estimate as estimate_task
from hwgen.estimate.resources import estimate_resources, total
from hwgen.evaluate import predict as predictions
from hwgen.evaluate.predict import Prediction
from hwgen.machine.devices import Usage
from hwgen.network import description
from hwgen.network.description import Description
from hwgen.quantize import quantize as quantize_config
from hwgen.quantize import run as quantize_to

if TYPE_CHECKING:
    from hwgen.explore.evaluate import Design
    from sim.job import Timing
    from sim.simulate import Report

__all__ = [
    "Build",
    "Config",
    "CycleEstimate",
    "Description",
    "HwgenError",
    "Prediction",
    "Project",
    "Usage",
    "build",
    "estimate",
    "explore",
    "load",
    "predict",
    "project",
    "quantize",
    "resources",
    "simulate",
]  # fmt: skip

Place = Path | str


def load(path: Place) -> Description:
    """A quantized description, from its directory or its `model.yaml`."""
    return description.load(Path(path))


def quantize(config: Place, output: Place | None = None, progress: Callable[[str], None] | None = None) -> Description:
    """What a `quantize.yaml` asks for; with `output` also written there."""
    return quantize_config(config, progress) if output is None else quantize_to(config, output, progress)


def project(path: Place, preset: str | None = None) -> Project:
    """A `config.yaml`, checked, with its models; with a preset (small, medium, large, or a board) also a description,
    and that array in place of the configuration's."""
    if preset is None:
        return load_project(Path(path))
    from hwgen.explore.presets import preset_project

    return preset_project(Path(path), preset)


def build(
    config: Place | Project, output: Place, *, preset: str | None = None, force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Build:  # fmt: skip
    """The directory of `hwgen build`. config: a `config.yaml`, with a preset also a description, or a `project`."""
    made = config if isinstance(config, Project) else project(config, preset)
    return build_project(made, Path(output), force=force, progress=progress)


def predict(
    model: Description | Place, images: NDArray[np.uint8], tasks: Sequence[str] | None = None
) -> dict[str, Prediction]:
    """By task, what the accelerator computes, to the bit. images: uint8 [B, rows, columns, channels]."""
    made = model if isinstance(model, Description) else load(model)
    found = predictions.predict(made, images, tasks, {}, lambda task, done, count: None)
    return {one.task.name: one for one in found}


def simulate(
    made: Build | Place, images: NDArray[np.uint8] | int = 4, *, labels: Mapping[str, NDArray[Any]] | None = None,
    tasks: Sequence[str] | None = None, timing: Timing | None = None, timeline: bool = False,
) -> Report:  # fmt: skip
    """A build in Verilator, every tensor compared with the golden model. images: or how many of the build's own."""
    from sim.simulate import load_images
    from sim.simulate import simulate as run

    opened = made if isinstance(made, Build) else load_build(Path(made))
    data = load_images(opened, images)[0] if isinstance(images, int) else images
    return run(opened, data, labels=labels, tasks=tasks, timing=timing, timeline=timeline)


def estimate(
    made: Build | Project | Place, *, latency: int = 40, preset: str | None = None
) -> dict[str, CycleEstimate]:
    """By task, cycles of a run (of all images of a batch) by the cycle model: of a build, a `config.yaml`, a project,
    or with a preset a description. Of several models the first."""
    made = _opened(made, preset)
    if isinstance(made, Build):
        compiled, p = made.compiled, made.params
    else:
        compiled, p = compile_model(made.models[0], made.params, made.config.batch), made.params
    return {task: estimate_task(compiled, task, p, latency=latency) for task in compiled.entries}


def resources(made: Build | Project | Place, *, family: str = "xcup", preset: str | None = None) -> Usage:
    """DSP, LUT, flip-flops, block RAM, UltraRAM by the estimator, of an FPGA family: xcup, xc7, ecp5, nexus."""
    return total(estimate_resources(_opened(made, preset).params, family))


def explore(
    config: Place, output: Place, *, space: Place | None = None, board: str | None = None, objective: str = "latency",
    latency: int = 100, workers: int | None = None, scheduler: str | None = None,
) -> list[Design]:  # fmt: skip
    """The front of a `config.yaml`'s designs, the best first: of a `space.yaml`, or of all arrays for a board. What was
    found is in `output`, as `hwgen explore` keeps it; the same call goes on there."""
    from hwgen.explore.evaluate import Setting
    from hwgen.explore.front import front
    from hwgen.explore.run import explore as run
    from hwgen.explore.space import board_space, points, read_space
    from hwgen.explore.store import Store, digests, fingerprint
    from hwgen.machine.devices import find_board

    on = find_board(board) if board else None
    if space is None and on is None:
        raise HwgenError("hwgen.explore", "space", expected="a space.yaml, or a board", found="neither")
    opened = load_project(Path(config))
    what = read_space(Path(space)) if space is not None else board_space(on)  # type: ignore[arg-type]
    mhz = on.clock / 1e6 if on else 200.0
    setting = Setting(str(Path(config).absolute()), latency, on.name if on else None, mhz)
    store = Store(Path(output), fingerprint(setting, digests(opened)))
    try:
        found = run(setting, points(what, opened, str(space or board)), store, workers=workers, scheduler=scheduler)
    finally:
        store.close()
    return front(found, objective)


def _opened(made: Build | Project | Place, preset: str | None) -> Build | Project:
    if isinstance(made, Build | Project):
        return made
    path = Path(made)
    return project(path, preset) if preset or is_config(path) else load_build(path)
