"""Float against integer on the MNIST test images, both tasks: python examples/mnist_m3vit/evaluate.py [images]

With --methods the integer rows are the quantizer's methods instead of the example's model, each calibrated on
calibration.npz: the table of docs/quantization.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from golden.model import Golden
from hwgen.evaluate.quality import Quality, quality
from hwgen.network.description import Description, load
from hwgen.quantize import float_network
from hwgen.quantize.options import option_strings
from hwgen.quantize.pipeline import quantize_network

HERE = Path(__file__).resolve().parent
BACKGROUND = 10
PLAIN = ["ranges=minmax", "repq=false", "equalize=false"]
EXPERTS = "weight_bits.layers.*.experts.*=4"
#: Settings by row of the table; those not named are the defaults.
METHODS = {
    "min/max": [*PLAIN, "rounding=nearest"],
    "min/max, second order": PLAIN,
    "MSE": ["ranges=mse"],
    "percentile 99.99": ["ranges=percentile"],
    "no RepQ": ["repq=false"],
    "no equalization": ["equalize=false"],
    "rounding to nearest": ["rounding=nearest"],
    "default": [],
    "experts 4 bits, nearest": [EXPERTS, "rounding=nearest"],
    "experts 4 bits": [EXPERTS],
    "mean_bits 6": ["mean_bits=6"],
    "mean_bits 5": ["mean_bits=5"],
    "mean_bits 4.5": ["mean_bits=4.5"],
    "all layers 4 bits, nearest": ["weight_bits.*=4", "rounding=nearest"],
    "all layers 4 bits": ["weight_bits.*=4"],
}


def labelled_images(count: int | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first `count` test images, uint8 [B, 28, 28, 1], and the labels of each task, [B, rows].

    A patch is labelled with the digit if the mean of its pixels / 255 exceeds 0.15, else as background.
    """
    with np.load(HERE / "test.npz") as archive:
        images, digits = archive["images"][:count], archive["labels"][:count].astype(np.int64)
    mean = images.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49) / 255
    return images[..., None], {"digit": digits[:, None], "segment": np.where(mean > 0.15, digits[:, None], BACKGROUND)}


def calibration_images() -> np.ndarray:
    """uint8 [512, 28, 28, 1] of the training set."""
    with np.load(HERE / "calibration.npz") as archive:
        return archive["images"][..., None]


def show(name: str, found: dict[str, Quality], decibels: dict[str, float]) -> None:
    """Print a row: accuracies of both tasks, mean IoU over the 11 classes of a patch, outputs' SQNR against float."""
    digit, segment = found["digit"], found["segment"]
    noise = "".join(f"{value:9.1f}" for value in decibels.values())
    print(f"{name:<30} {digit.accuracy:8.2%} {segment.accuracy:8.2%} {segment.miou:8.4f}{noise}", flush=True)


def main() -> None:
    """Print one row per model."""
    parser = argparse.ArgumentParser(description="Float against integer on the MNIST test images, both tasks.")
    parser.add_argument("images", type=int, nargs="?", help="how many test images; default: all")
    parser.add_argument("--methods", action="store_true", help="compare the quantizer's methods")
    arguments = parser.parse_args()
    images, labels = labelled_images(arguments.images)
    network = float_network(HERE / "quantize.yaml", dtype=np.float64)
    wanted = {task: network.run(images, task) for task in labels}

    def measure(name: str, description: Description) -> None:
        golden, scales = Golden(description), description.model.scales
        outputs = {task: golden.run(images, task).output * scales[f"tasks.{task}.output"] for task in labels}
        noise = {task: float(((outputs[task] - wanted[task]) ** 2).sum()) for task in labels}
        decibels = {task: 10 * np.log10((wanted[task] ** 2).sum() / noise[task]) for task in labels}
        show(name, {task: quality(outputs[task], labels[task]) for task in labels}, decibels)

    print(f"{f'{len(images)} images':<30} {'digit':>8} {'patches':>8} {'mIoU':>8} {'digit dB':>8} {'patch dB':>8}")
    show("float", {task: quality(wanted[task], labels[task]) for task in labels}, {})
    if not arguments.methods:
        measure("integer", load(HERE / "model"))
        return
    for name, settings in METHODS.items():
        measure(name, quantize_network(network, calibration_images(), option_strings(settings), lambda line: None))


if __name__ == "__main__":
    main()
