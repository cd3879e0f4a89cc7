"""A trained DINOv2-S on the machine: quantized on photographs, built, one image simulated to the bit, and the saliency
maps of the float and the integer network side by side.

python examples/dinov2_saliency/demo.py [--no-simulation]

Some ten minutes and 200 MB in build/dinov2 the first time. Needs `pip install '.[sim,dinov2]'`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from dinov2 import MEAN, SIZE, STD, Dinov2, iou, photographs

from golden.model import Golden
from hwgen.build import build
from hwgen.cli.console import progress_bars, progress_steps
from hwgen.cli.tables import show_report
from hwgen.common.errors import HwgenError
from hwgen.evaluate.error import sqnr_db
from hwgen.importers import ImageSize, Normalize, Overrides, load
from hwgen.network import description
from hwgen.quantize import quantize_network
from hwgen.quantize.options import Options
from sim.simulate import simulate

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / "build" / "dinov2"
#: Photographs shown, of the unseen ones.
SHOWN = (0, 2)


def settings() -> Overrides:
    """What the state dict does not tell."""
    normalize = Normalize(mean=[255 * value for value in MEAN], std=[255 * value for value in STD])
    return Overrides(image_size=ImageSize(height=SIZE, width=SIZE), heads=6, normalize=normalize, activation="gelu")


def main(simulated: bool) -> int:
    """Returns the exit code: 0 when every bit agrees."""
    files = Dinov2(WORK)
    with progress_steps() as say:
        say("fetching the network (90 MB, once)")
        network = load(files.checkpoint, "timm", settings()).network(np.float32)
        images = photographs()
        made = quantize_network(network, images["calibration"], Options(), say)
        description.save(made, WORK / "model")
        say("running float and integer network on unseen photographs")
        task = made.model.tasks[0].name
        wanted = network.run(images["unseen"], task)
        step = made.model.scales[f"tasks.{task}.norm"]
        found = Golden(made).run(images["unseen"], task).output * step
        maps = files.saliency(wanted), files.saliency(found)
    sqnr = np.mean([sqnr_db(*pair) for pair in zip(found, wanted, strict=True)])
    print(f"tokens: {sqnr:.1f} dB, mean of {len(found)} crops of unseen photographs")
    difference = np.abs(maps[0] - maps[1]).mean()
    print(f"saliency: mean absolute difference {difference:.4f}, mean IoU at 0.5 {iou(*maps):.3f}")
    print(f"pictures: {picture(images['unseen'], *maps)}")
    if not simulated:
        return 0
    with progress_steps() as say:
        accelerator = build(HERE / "config.yaml", WORK / "out", force=True, progress=say)
    with progress_bars() as progress:
        report = simulate(accelerator, images["unseen"][:1], progress=progress)
    show_report(report.as_dict())
    return 0 if report.identical else 1


def picture(images: np.ndarray, wanted: np.ndarray, found: np.ndarray) -> Path:
    """Photograph, float map and integer map in a row each; the path of the PNG."""
    from PIL import Image

    def grey(maps: np.ndarray) -> np.ndarray:
        return np.repeat(np.rint(255 * np.clip(maps, 0, 1)).astype(np.uint8)[..., None], 3, -1)

    rows = [np.concatenate([images[i], grey(wanted[i]), grey(found[i])], axis=1) for i in SHOWN]
    path = WORK / "saliency.png"
    Image.fromarray(np.concatenate(rows)).save(path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-simulation", action="store_true", help="golden model only: minutes less")
    try:
        sys.exit(main(not parser.parse_args().no_simulation))
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
