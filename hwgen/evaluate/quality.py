"""Quality of outputs against labels: accuracy and mean intersection over union of classes, absolute error of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.network.description import Description, Model
from hwgen.network.images import ANY_TASK


@dataclass(frozen=True)
class Quality:
    """accuracy: share of rows (images or patches) with the right class; miou: mean over the classes, both 0..1."""

    accuracy: float
    miou: float


def quality(outputs: np.ndarray, labels: np.ndarray) -> Quality:
    """Of outputs [B, rows, classes] against labels [B, rows]; ties go to the lower class."""
    classes = outputs.shape[-1]
    predicted = outputs.argmax(-1)
    confusion = np.bincount((labels.astype(np.int64) * classes + predicted).ravel(), minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    present = union > 0
    return Quality(float(hits.sum() / confusion.sum()), float((hits[present] / union[present]).mean()))


def evaluate(description: Description, images: np.ndarray, labels: Mapping[str, np.ndarray]) -> dict[str, Quality]:
    """Integer quality on images uint8 [B, H, W, C] for the tasks of `labels` (task -> classes [B, rows])."""
    golden = Golden(description)
    return {task: quality(golden.run(images, task).output, wanted) for task, wanted in labels.items()}


def classes(model: Model) -> set[int]:
    """How many classes the heads with one row have."""
    return {model.output_shape(task)[1] for task in model.tasks if task.head not in ("every_token", "none")}


def task_labels(model: Model, labels: Mapping[str, np.ndarray] | None, where: str) -> dict[str, np.ndarray]:
    """Labels by task: classes, integers [B, rows], or values, floats [B, rows, outputs].

    Labels of no task by name (`ANY_TASK`) are the classes of all heads with one row. `where` names their file.
    """
    found: dict[str, np.ndarray] = {}
    for name, array in (labels or {}).items():
        tasks = [task for task in model.tasks if task.name == name]
        if name == ANY_TASK:
            tasks = [task for task in model.tasks if task.head != "every_token" and task.outputs]
        elif not tasks:
            raise HwgenError(where, f"labels_{name}", expected="a task of the model", found=repr(name),
                             mend=f"its tasks are {', '.join(task.name for task in model.tasks)}")  # fmt: skip
        for task in tasks:
            key = f"labels_{name}".removesuffix("_")
            rows, outputs = model.output_shape(task)
            classes = array.dtype.kind in "iu"
            shape = (len(array), rows) if classes else (len(array), rows, outputs)
            if array.size != np.prod(shape):
                kind = "classes" if classes else "values"
                raise HwgenError(where, key, expected=f"{kind} {list(shape)} for the task {task.name}",
                                 found=f"{array.dtype.name} {list(array.shape)}")  # fmt: skip
            if classes and not 0 <= array.min() <= array.max() < outputs:
                raise HwgenError(where, key, expected=f"classes 0..{outputs - 1} for the task {task.name}",
                                 found=f"{array.min()}..{array.max()}")  # fmt: skip
            found[task.name] = array.reshape(shape)
    return found


def metrics(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Of outputs [B, rows, outputs] in real numbers: `top1` and, with several rows, `miou` of classes; `mae` of values.

    Labels are as from `task_labels`.
    """
    if labels.dtype.kind not in "iu":
        return {"mae": float(np.abs(outputs - labels).mean())}
    found = quality(outputs, labels)
    return {"top1": found.accuracy} | ({"miou": found.miou} if outputs.shape[1] > 1 else {})
