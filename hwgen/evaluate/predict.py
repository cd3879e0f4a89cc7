"""`hwgen run`: outputs of the integer or of the float model on images, summed up for people and for files.

Tested by tests/cli/test_run.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golden.model import CHUNK, Golden
from hwgen.common.errors import HwgenError
from hwgen.evaluate.quality import metrics
from hwgen.network.description import Description, Model, Task
from hwgen.network.floatmodel import FloatModel

#: Classes named of a head that classifies.
TOP = 5
SUFFIXES = (".npz", ".json")


@dataclass(frozen=True)
class Prediction:
    """Of one task.

    values:  real numbers float32 [B, rows, outputs]
    metrics: against labels, as `hwgen.evaluate.quality.metrics`; empty without any
    codes:   int16 of the same shape, as the accelerator writes them; None of a float model
    step:    what a code is worth; None of a float model
    """

    task: Task
    values: np.ndarray
    metrics: Mapping[str, float]
    codes: np.ndarray | None = None
    step: float | None = None

    @property
    def dense(self) -> bool:
        """There are several rows per image, or features."""
        return self.task.head == "every_token" or self.task.outputs is None

    def summary(self, image: int) -> dict[str, Any]:
        """Of one image: `top` pairs of class and score, highest first; `values` of a single output; of a dense head
        `shape`, `min`, `max` and, by class, how many rows it wins (`classes`)."""
        values = self.values[image]
        if not self.dense and self.task.outputs == 1:
            return {"values": values[0].tolist()}
        if not self.dense:
            order = np.argsort(-values[0], kind="stable")[:TOP]
            return {"top": [[int(index), float(values[0, index])] for index in order]}
        found: dict[str, Any] = {"shape": list(values.shape), "min": float(values.min()), "max": float(values.max())}
        if self.task.head == "every_token" and self.task.outputs != 1:
            winners, counts = np.unique(values.argmax(-1), return_counts=True)
            found["classes"] = {int(winner): int(count) for winner, count in zip(winners, counts, strict=True)}
        return found

    def line(self, image: int) -> str:
        """The summary as text."""
        found = self.summary(image)
        if "top" in found:
            return ", ".join(f"{index} ({score:.2f})" for index, score in found["top"])
        if "values" in found:
            return f"{found['values'][0]:.4g}"
        text = f"{' x '.join(map(str, found['shape']))} from {found['min']:.4g} to {found['max']:.4g}"
        if "classes" in found:
            text += "; classes " + ", ".join(f"{winner} ({count})" for winner, count in found["classes"].items())
        return text


def predict(
    description: Description, images: np.ndarray, tasks: Sequence[str] | None, labels: Mapping[str, np.ndarray],
    progress: Callable[[str, int, int], None],
) -> list[Prediction]:  # fmt: skip
    """Run the tasks (None: all) on images uint8 [B, H, W, C]; `labels` as from `hwgen.evaluate.quality.task_labels`."""
    golden, found = Golden(description), []
    for task in chosen(description.model, tasks):
        parts = []
        for start in range(0, len(images), CHUNK):
            progress(task.name, start, len(images))
            parts.append(golden.run(images[start : start + CHUNK], task.name).output)
        progress(task.name, len(images), len(images))
        codes, step = np.concatenate(parts), output_step(description, task)
        known = metrics(codes * step, labels[task.name]) if task.name in labels else {}
        found.append(Prediction(task, (codes * step).astype(np.float32), known, codes, step))
    return found


def predict_float(
    network: FloatModel, images: np.ndarray, tasks: Sequence[str] | None, labels: Mapping[str, np.ndarray],
    progress: Callable[[str, int, int], None],
) -> list[Prediction]:  # fmt: skip
    """As `predict`, of a float network."""
    found = []
    for task in chosen(network.model, tasks):
        parts = []
        for part in network.chunks(len(images)):
            progress(task.name, part.start, len(images))
            parts.append(network.run(images[part], task.name))
        progress(task.name, len(images), len(images))
        values = np.concatenate(parts)
        known = metrics(values, labels[task.name]) if task.name in labels else {}
        found.append(Prediction(task, values.astype(np.float32), known))
    return found


def chosen(model: Model, tasks: Sequence[str] | None) -> list[Task]:
    """The tasks of these names, in the model's order; HwgenError for a name it does not have."""
    names = [task.name for task in model.tasks]
    for name in tasks or []:
        if name not in names:
            raise HwgenError(f"model {model.name}", "--task", expected=f"one of {', '.join(names)}", found=repr(name))
    return [task for task in model.tasks if task.name in (tasks or names)]


def output_step(description: Description, task: Task) -> float:
    """Real value of one step of a task's outputs; 1 where the description tells no scale."""
    return description.model.output_scale(task) or 1.0


def check_output(path: Path) -> None:
    """HwgenError unless a file of this name can be written as one of SUFFIXES."""
    if path.suffix not in SUFFIXES:
        raise HwgenError("command line", "--output", expected=f"a file name with {' or '.join(SUFFIXES)}",
                         found=str(path))  # fmt: skip
    if not path.parent.is_dir():
        raise HwgenError(str(path), "--output", expected="a file in a directory that exists",
                         found=f"no directory {path.parent}", mend="make the directory")  # fmt: skip


def write(path: Path, model: Model, found: Sequence[Prediction]) -> None:
    """`.npz`: of each task `TASK.values` float32 and, of the integer model, `TASK.output` int16; `.json`: `as_dict`.
    Whole, or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            if path.suffix == ".json":
                file.write((json.dumps(as_dict(model, found), indent=1) + "\n").encode())
            else:
                values = {f"{one.task.name}.values": one.values for one in found}
                codes = {f"{one.task.name}.output": one.codes for one in found if one.codes is not None}
                np.savez(file, allow_pickle=False, **values, **codes)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise HwgenError(str(path), "--output", expected="a file that can be written",
                         found=error.strerror or str(error)) from None  # fmt: skip


def as_dict(model: Model, found: Sequence[Prediction]) -> dict[str, Any]:
    """For JSON: by task its head, what a step is worth, metrics and a summary of every image."""
    return {
        "model": model.name,
        "tasks": {
            one.task.name: {
                "head": one.task.head,
                "step": one.step,
                "metrics": dict(one.metrics),
                "images": [one.summary(image) for image in range(len(one.values))],
            }
            for one in found
        },
    }
