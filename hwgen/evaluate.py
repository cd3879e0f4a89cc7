"""Quality of classifying tasks: accuracy and mean intersection over union, of a description or of any outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.model import Golden
from hwgen.description import Description


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
