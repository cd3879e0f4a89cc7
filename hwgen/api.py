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
from hwgen.estimate.board import attach, estimates
from hwgen.estimate.cycles import CycleEstimate
from hwgen.estimate.resources import estimate_resources, total
from hwgen.evaluate import predict as predictions
from hwgen.evaluate.predict import Prediction
from hwgen.machine.devices import Board, Usage, find_board
from hwgen.network import description
from hwgen.network.description import Description
from hwgen.quantize import Job
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
    "designs",
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
Said = Callable[[str], None]
Progress = Callable[[str, int, int], None]  # what, done, of how many


def load(path: Place) -> Description:
    """A quantized description, from its directory or its `model.yaml`."""
    return description.load(Path(path))


def quantize(
    config: Place | Job, output: Place | None = None, progress: Said | None = None, note: Said | None = None
) -> Description:
    """What a `quantize.yaml` asks for; with `output` also written there. `note` is told what was done to images."""
    if output is None:
        return quantize_config(config, progress, note)
    return quantize_to(config, output, progress, note)


def project(path: Place, preset: str | None = None, progress: Progress | None = None) -> Project:
    """A `config.yaml`, checked, with its models; with a preset (small, medium, large, or a board) also a description,
    and that array in place of the configuration's."""
    if preset is None:
        return load_project(Path(path))
    from hwgen.explore.presets import preset_project

    return preset_project(Path(path), preset, progress or _silent)


def build(
    config: Place | Project, output: Place, *, preset: str | None = None, force: bool = False,
    progress: Said | None = None,
) -> Build:  # fmt: skip
    """The directory of `hwgen build`. config: a `config.yaml`, with a preset also a description, or a `project`."""
    made = config if isinstance(config, Project) else project(config, preset)
    return build_project(made, Path(output), force=force, progress=progress)


def predict(
    model: Description | Place, images: NDArray[np.uint8], tasks: Sequence[str] | None = None, *,
    labels: Mapping[str, NDArray[Any]] | None = None, progress: Progress | None = None,
) -> dict[str, Prediction]:  # fmt: skip
    """By task, what the accelerator computes, to the bit. images: uint8 [B, rows, columns, channels]; labels: by task,
    [B, rows]."""
    made = model if isinstance(model, Description) else load(model)
    found = predictions.predict(made, images, tasks, labels or {}, progress or _silent)
    return {one.task.name: one for one in found}


def simulate(
    made: Build | Place, images: NDArray[np.uint8] | int | None = None, *,
    labels: Mapping[str, NDArray[Any]] | None = None, tasks: Sequence[str] | None = None, timing: Timing | None = None,
    engine: str = "harness", trace: Path | None = None, timeline: bool = False, progress: Progress | None = None,
    note: Said | None = None,
) -> Report:  # fmt: skip
    """A build in Verilator, every tensor compared with the golden model. images: or how many of the build's own, with
    their labels. Images and timing that nobody names are those of `hwgen sim`. engine, trace: as `sim.simulate`."""
    from sim.replay import setting
    from sim.simulate import load_images
    from sim.simulate import simulate as run

    opened = made if isinstance(made, Build) else load_build(Path(made))
    count, usual = setting(opened.path)
    images = count if images is None else images
    if isinstance(images, int):
        images, known = load_images(opened, images, note)
        labels = labels or _classes(opened, known)
    return run(opened, images, labels=labels, tasks=tasks, timing=timing or usual, engine=engine, trace=trace,
               timeline=timeline, progress=progress)  # fmt: skip


def estimate(
    made: Build | Project | Place, *, latency: int = 40, preset: str | None = None, board: Board | str | None = None,
    clock: float | None = None,
) -> dict[str, CycleEstimate]:  # fmt: skip
    """By task, cycles of a run (of all images of a batch) by the cycle model: of a build, a `config.yaml`, a project,
    or with a preset a description. Of several models the first. board: with its memory, at a clock in MHz."""
    made, on = _opened(made, preset), _board(board)
    if isinstance(made, Build):
        compiled, p = made.compiled, made.params
    else:
        compiled, p = compile_model(made.models[0], made.params, made.config.batch), made.params
    return estimates(compiled, p, latency=latency, on=attach(p, on, clock and 1e6 * clock) if on else None)


def resources(made: Build | Project | Place, *, family: str = "xcup", preset: str | None = None) -> Usage:
    """DSP, LUT, flip-flops, block RAM, UltraRAM by the estimator, of an FPGA family: xcup, xc7, ecp5, nexus."""
    return total(estimate_resources(_opened(made, preset).params, family))


def explore(
    config: Place | Project, output: Place, *, objective: str = "latency", space: Place | None = None,
    board: Board | str | None = None, clock: float | None = None, latency: int = 100, workers: int | None = None,
    scheduler: str | None = None, progress: Progress | None = None, note: Said | None = None,
) -> list[Design]:  # fmt: skip
    """The front of `designs`, the best first. objective: latency, fps, fps-per-dsp or energy."""
    from hwgen.explore.front import front

    found = designs(config, output, space=space, board=board, clock=clock, latency=latency, workers=workers,
                    scheduler=scheduler, progress=progress, note=note)  # fmt: skip
    return front(found, objective)


def designs(
    config: Place | Project, output: Place, *, space: Place | None = None, board: Board | str | None = None,
    clock: float | None = None, latency: int = 100, workers: int | None = None, scheduler: str | None = None,
    progress: Progress | None = None, note: Said | None = None,
) -> list[Design]:  # fmt: skip
    """A `config.yaml`'s designs with their figures: of a `space.yaml`, or of all arrays for a board. What was found is
    in `output`, as `hwgen explore` keeps it; the same call goes on there. clock: MHz; without, the board's, or 200."""
    from hwgen.explore.evaluate import Setting
    from hwgen.explore.run import explore as run
    from hwgen.explore.space import board_space, points, read_space
    from hwgen.explore.store import Store, digests, fingerprint

    on, say = _board(board), progress or _silent
    if space is None and on is None:
        raise HwgenError("hwgen.explore", "space", expected="a space.yaml, or a board", found="neither")
    opened = config if isinstance(config, Project) else load_project(Path(config))
    what = read_space(Path(space)) if space is not None else board_space(on)  # type: ignore[arg-type]
    wanted = points(what, opened, str(space or "space"))
    mhz = clock or (on.clock / 1e6 if on else 200.0)
    setting = Setting(str(opened.path.absolute()), latency, on.name if on else None, mhz)
    store = Store(Path(output), fingerprint(setting, digests(opened)))
    try:
        known = sum(point in store.known for point in wanted)
        if known and note:
            note(f"{known:,} of {len(wanted):,} designs are known from before")
        return run(setting, wanted, store, workers=workers, scheduler=scheduler,
                   progress=lambda done, total: say("designs", done, total))  # fmt: skip
    finally:
        store.close()


def _opened(made: Build | Project | Place, preset: str | None) -> Build | Project:
    if isinstance(made, Build | Project):
        return made
    path = Path(made)
    return project(path, preset) if preset or is_config(path) else load_build(path)


def _board(board: Board | str | None) -> Board | None:
    return find_board(board, "hwgen", "board") if isinstance(board, str) else board


def _classes(made: Build, labels: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """Labels of images by task: of those that classify."""
    if labels is None:
        return {}
    tasks = [task for task in made.model.model.tasks if task.head != "every_token" and task.outputs]
    return {task.name: labels[:, None] for task in tasks}


def _silent(what: str, done: int, total: int) -> None:
    pass
