"""One of the example's test images as a PGM file, for the program in C: python photo.py [number] [photo.pgm]"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

IMAGES = Path(__file__).resolve().parents[1] / "test.npz"


def main(number: int = 0, path: str = "photo.pgm") -> None:
    """Write the image; print what it shows."""
    with np.load(IMAGES) as archive:
        image, digit = archive["images"][number], archive["labels"][number]
    height, width = image.shape
    Path(path).write_bytes(f"P5\n{width} {height}\n255\n".encode() + image.tobytes())
    print(f"{path}: test image {number}, a {digit}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
