"""A test image through both tasks on the board: python mnist.py BUILD [design.bit [image number [frames]]]

BUILD is what `hwgen build` wrote. Without a board: python -m sim.pynq BUILD mnist.py BUILD design.bit 0 2
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

IMAGES = Path(__file__).resolve().parents[1] / "test.npz"
BACKGROUND = 10
SECONDS = 60  #: a simulated board takes some for an image, a real one a thousandth of one


def picture(classes: np.ndarray) -> str:
    """A patch's class as a character, background as a dot."""
    return "\n".join(" ".join("." if one == BACKGROUND else str(one) for one in row) for row in classes)


def main(build: str, bitstream: str = "design.bit", number: str = "0", frames: str = "100") -> None:
    """Load, run, show."""
    sys.path.insert(0, str(Path(build, "driver", "python")))
    from hwgen_driver import HwgenOverlay

    with np.load(IMAGES) as archive:
        image, label = archive["images"][int(number)], int(archive["labels"][int(number)])
    with HwgenOverlay(bitstream, build) as acc:
        logits = acc.run(image, task="digit", timeout=SECONDS)[0]
        print(f"digit: {logits.argmax()}, logit {logits.max():.3f}; the label says {label}")
        print(picture(acc.run(image, task="segment", timeout=SECONDS).argmax(1).reshape(7, 7)))
        begin = time.perf_counter()
        acc.run_batch(np.repeat(image[None], int(frames), 0), task="digit", timeout=SECONDS)
        print(f"{int(frames) / (time.perf_counter() - begin):.1f} frames per second")
        for name, value in acc.counters.items():
            print(f"{name:20} {value:12,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
