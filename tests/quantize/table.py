"""python -m tests.quantize.table: SQNR in dB by method, for the second and third table of docs/quantization.md.

The block with a trained network's outliers (`outlier_block`, means over five seeds, 32 images to calibrate, 8 others to
measure) and an untrained DeiT-T (noise images, 16 and 4).
"""

from __future__ import annotations

import numpy as np

from hwgen.quantize.options import option_strings
from tests.quantize.helpers import EVALUATE, decibels, noise_images, quantized, untrained
from tests.quantize.outlier_block import images, outlier_block

BLOCK = ["norm1", "norm2", "q", "k", "v", "context", "hidden", "attn", "mlp"]
DEIT = ["layers.0.norm1", "layers.0.mlp", "layers.11.mlp", "classify.output"]
SEEDS = 5


def methods() -> dict[str, dict[str, object]]:
    """Options by row: the example's methods for eight-bit weights."""
    made = {name: option_strings(settings) for name, settings in EVALUATE["METHODS"].items()}
    return {
        name: options.model_dump()
        for name, options in made.items()
        if not options.weight_bits and not options.mean_bits
    }


def main() -> None:
    """Print both tables."""
    blocks = {seed: outlier_block(seed) for seed in range(SEEDS)}
    print(f"{'block':<32}", *(f"{name:>8}" for name in BLOCK))
    for label, options in methods().items():
        found = []
        for seed, block in blocks.items():
            made = decibels(block, quantized(block, images(32, seed), **options), images(8, seed + 100), "stream")
            found.append([made[f"layers.0.{name}"] for name in BLOCK])
        print(f"{label:<32}", *(f"{value:8.1f}" for value in np.mean(found, axis=0)), flush=True)
    network, calibration, others = untrained("deit_tiny"), noise_images(16, 1), noise_images(4, 2)
    print(f"{'DeiT-T':<32}", *(f"{name:>15}" for name in DEIT))
    for label, options in methods().items():
        made = decibels(network, quantized(network, calibration, **options), others, "classify")
        print(f"{label:<32}", *(f"{made[name]:15.1f}" for name in DEIT), flush=True)


if __name__ == "__main__":
    main()
