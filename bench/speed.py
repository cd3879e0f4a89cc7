"""How many images per second the integer model takes: `OPENBLAS_NUM_THREADS=1 python -m bench.speed`.

Processor time of this process, the best of some runs; one core as long as BLAS has one thread. Results in
docs/numerics.md.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.model import Golden
from hwgen.network.description import Description, load
from hwgen.quantize.synthetic import synthetic, synthetic_images

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def seconds(golden: Golden, images: NDArray[np.uint8], task: str, runs: int = 3) -> float:
    """Processor seconds for all images, the least of `runs`."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        golden.run(images, task)
        best = min(best, time.process_time() - start)
    return best


def report(description: Description, images: NDArray[np.uint8]) -> None:
    """Print a line per task."""
    golden = Golden(description)
    for task in description.model.tasks:
        taken = seconds(golden, images, task.name)
        name = f"{description.model.name}, {task.name}"
        print(
            f"{name:<24} {len(images):4} images {1000 * taken / len(images):8.1f} ms {len(images) / taken:8.1f} per s"
        )


def main() -> None:
    """The example and, with weights from a seed, DeiT-S."""
    example = load(EXAMPLES / "mnist_m3vit" / "model")
    report(example, synthetic_images(example, 320, 0))
    deit = synthetic(EXAMPLES / "deit_small" / "model.yaml", 1)
    report(deit, synthetic_images(deit, 1, 0))


if __name__ == "__main__":
    main()
