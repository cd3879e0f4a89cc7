"""Float against integer on the MNIST test images, both tasks: python examples/mnist_m3vit/evaluate.py [images]"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hwgen.description import load
from hwgen.evaluate import evaluate, quality
from hwgen.quantize import float_network

HERE = Path(__file__).resolve().parent
BACKGROUND = 10


def labelled_images(count: int | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first `count` test images, uint8 [B, 28, 28, 1], and the labels of each task, [B, rows].

    A patch is labelled with the digit if the mean of its pixels / 255 exceeds 0.15, else as background.
    """
    with np.load(HERE / "test.npz") as archive:
        images, digits = archive["images"][:count], archive["labels"][:count].astype(np.int64)
    mean = images.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49) / 255
    return images[..., None], {"digit": digits[:, None], "segment": np.where(mean > 0.15, digits[:, None], BACKGROUND)}


def main() -> None:
    """Print one row per model: digit accuracy, patch accuracy, mean IoU over the 11 classes of a patch."""
    images, labels = labelled_images(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    network = float_network(HERE / "quantize.yaml")
    rows = {
        "float": {task: quality(network.run(images, task), wanted) for task, wanted in labels.items()},
        "integer": evaluate(load(HERE / "model"), images, labels),
    }
    print(f"{len(images)} images    digit   patches    mIoU")
    for name, found in rows.items():
        digit, segment = found["digit"], found["segment"]
        print(f"{name:<12} {digit.accuracy:8.2%} {segment.accuracy:8.2%} {segment.miou:8.4f}")


if __name__ == "__main__":
    main()
