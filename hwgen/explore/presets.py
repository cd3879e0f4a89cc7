"""Named accelerators: three sizes from presets.yaml, and for each board what `hwgen explore --fit` finds for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.common.strict_yaml import Strict, dump_yaml, read_yaml, validate
from hwgen.config import Array, Buses, Config, Project, is_config, load_project, make_project, read_config
from hwgen.explore.evaluate import Setting
from hwgen.explore.front import front
from hwgen.explore.run import explore
from hwgen.explore.space import board_space, configuration, points
from hwgen.explore.store import Store
from hwgen.machine.devices import Board, boards

__all__ = ["LATENCY", "Preset", "fit", "preset_project", "presets"]

#: Cycles of memory latency that a board's array is chosen for: the default of `hwgen explore`.
LATENCY = 100
Progress = Callable[[str, int, int], None]  # what, done, of how many


class Preset(Strict):
    """An array and its buses; `what`: for whom."""

    what: str
    array: Array
    buses: Buses


@cache
def presets() -> dict[str, Preset]:
    """Those that are no board, by name."""
    path = Path(__file__).with_suffix(".yaml")
    table = read_yaml(path)
    assert isinstance(table, dict)
    return {name: validate(Preset, entry, str(path)) for name, entry in table.items()}


def preset_project(path: Path, name: str, progress: Progress = lambda what, done, total: None) -> Project:
    """What `hwgen build --preset NAME PATH` builds. path: a config.yaml, whose array and buses the preset's replace, or
    a quantized description or its directory. Raises HwgenError for anything wrong with them."""
    known, name = presets(), name.lower()
    if name not in known and name not in boards():
        raise HwgenError(COMMAND_LINE, "--preset", expected=f"{', '.join(known)}, or a board: {', '.join(boards())}",
                         found=repr(name), mend="for another array write a config.yaml (docs/config.md)")  # fmt: skip
    config = _absolute(read_config(path), path) if is_config(path) else Config(model=str(path.absolute()))
    if name in known:
        shape = known[name].array.model_copy(update={"multiplier_bits": config.array.multiplier_bits})
        config = config.model_copy(update={"array": shape, "buses": known[name].buses})
    else:
        config = fit(config, boards()[name], path, progress)
    project = make_project(config, path)
    return replace(project, text=_own_text(project))


def fit(config: Config, board: Board, path: Path, progress: Progress = lambda what, done, total: None) -> Config:
    """With the best array for its model on a board, by latency: `hwgen explore --fit` without a space. Paths in it must
    be absolute; path: where it is from, for errors."""
    if len(config.paths) > 1:
        raise HwgenError(str(path), "models", expected="one model, to choose an array for",
                         found=f"{len(config.paths)} models",
                         mend=f"hwgen explore {path} --fit {board.name} finds one for each")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="hwgen-preset-") as folder:
        file = Path(folder) / "config.yaml"  # the workers read it
        file.write_text(dump_yaml(config.model_dump(exclude_defaults=True, exclude_none=True)), "utf-8")
        project = load_project(file)
        setting = Setting(str(file), LATENCY, board.name, board.clock / 1e6)
        store = Store(Path(folder), "")
        try:
            designs = explore(setting, points(board_space(board), project, str(path)), store,
                              progress=lambda done, total: progress("arrays", done, total))  # fmt: skip
        finally:
            store.close()
    chosen = front(designs, "latency")
    if not chosen:
        refused = [one.refused for one in designs if one.refused]
        raise HwgenError(str(path), "--preset", expected=f"a network that {board.name} has room for",
                         found=refused[0] if refused else "no array for it fits the device",
                         mend="take a larger board, or fewer bits (hwgen quantize --weight-bits)")  # fmt: skip
    return configuration(config, chosen[0].point, board)


def _absolute(config: Config, path: Path) -> Config:
    """Of a file at `path`, so that it can be read from anywhere."""

    def place(name: str) -> str:
        return str((path.parent / name).expanduser().absolute())

    images = config.images
    if images is not None:
        images = place(images) if isinstance(images, str) else {name: place(file) for name, file in images.items()}
    return config.model_copy(update={
        "model": config.model and place(config.model), "models": config.models and [*map(place, config.models)],
        "images": images,
    })  # fmt: skip


def _own_text(project: Project) -> str:
    """`config.yaml` as it stands in a build: of the models and the images there, wherever they were from."""
    homes = ["", *(f"models/{desc.model.name}/" for desc in project.models[1:])]
    names = [desc.model.name for desc in project.models]
    own = project.config.model_copy(update={
        "model": "model" if project.config.model else None,
        "models": [f"{home}model" for home in homes] if project.config.models else None,
        "images": {name: f"{home}images.npz" for name, home in zip(names, homes, strict=True)
                   if name in project.images} or None,
    })  # fmt: skip
    return dump_yaml(own.model_dump(exclude_defaults=True, exclude_none=True))
