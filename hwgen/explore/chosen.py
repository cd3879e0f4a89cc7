"""A design as files: `config.yaml` for `hwgen build`, all designs as CSV and JSON.

Tested by tests/cli/test_explore.py.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import dump_yaml
from hwgen.config import Project
from hwgen.explore.evaluate import Design, narrowed
from hwgen.explore.space import configuration
from hwgen.machine.devices import RESOURCES, Board
from hwgen.network import description

__all__ = ["write_config", "write_designs"]


def write_config(project: Project, design: Design, board: Board | None, path: Path) -> Path:
    """Builds this design, of its model. Weights of other bits than the model's are written beside it."""
    point = design.point
    config = configuration(project.config, point, board)
    place = project.path.parent / config.paths[[one.model.name for one in project.models].index(point.model)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if point.weight_bits is not None:
            place = path.parent / f"{point.model}-{point.weight_bits}"
            description.save(narrowed(project.model(point.model), point.weight_bits), place)
        images = project.images.get(point.model)
        made = config.model_copy(update={
            "model": _beside(place, path), "models": None, "images": None if images is None else _beside(images, path),
        })  # fmt: skip
        path.write_text(dump_yaml(made.model_dump(exclude_defaults=True, exclude_none=True)), "utf-8")
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be written", found=str(error.strerror)) from None
    return path


def write_designs(designs: Sequence[Design], folder: Path) -> None:
    """All of them, those that were refused too, in their order."""
    rows = []
    for design in designs:
        rest = {key: value for key, value in design.as_dict().items() if key not in ("point", "resources", "tasks")}
        rows.append(design.point.as_dict() | rest | {name: design.resources.get(name) for name in RESOURCES})
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    for name, data in (("designs.csv", text.getvalue()),
                       ("designs.json", json.dumps([one.as_dict() for one in designs]) + "\n")):  # fmt: skip
        try:
            (folder / name).write_text(data, "utf-8")
        except OSError as error:
            raise HwgenError(str(folder / name), expected="a file that can be written",
                             found=str(error.strerror)) from None  # fmt: skip


def _beside(place: Path, path: Path) -> str:
    """As the configuration names it."""
    return os.path.relpath(place.absolute(), path.parent.absolute())
