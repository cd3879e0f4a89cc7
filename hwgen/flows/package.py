"""What a build has for other tools: `vivado/`, the FuseSoC core, what belongs to HLS sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwgen.compiler import Compiled
from hwgen.flows import fusesoc, vitis, vivado
from hwgen.flows.design import Design, ports_of
from hwgen.flows.vectors import vectors
from hwgen.flows.vivado_synth import Vivado
from hwgen.machine.devices import Board, find
from hwgen.machine.params import HwParams
from hwgen.network.description import Description
from hwgen.network.images import load_images

__all__ = ["VERILOG", "write"]

#: The Verilog's path in a build.
VERILOG = "rtl/hwgen_accelerator.v"
#: Where a configuration names no device; Hz where a device is on no board.
DEVICE, CLOCK = "xczu9eg", 200_000_000
SEED = 1  #: of the image that the simulation of FuseSoC takes where the configuration names none


def write(
    build: Path, *, top: str, params: HwParams, build_hash: int, device: str | None, model: Description,
    compiled: Compiled,
) -> None:  # fmt: skip
    """Into a build's directory that has the Verilog with the module `top`, program, weights, perhaps images and HLS
    sources."""
    target = find(device or DEVICE)
    if not isinstance(target, Board) and target.family not in Vivado.families:
        target = find(DEVICE)  # the scripts are there all the same, for a part that Vivado has
    fpga, clock = (target.device, target.clock) if isinstance(target, Board) else (target, CLOCK)
    design = Design(top, VERILOG, fpga, clock, ports_of((build / VERILOG).read_text(), top), params, build_hash)
    vivado.write(build, design)
    run = vectors(params, model, compiled, _images(build / "images.npz", model, compiled.batch))
    fusesoc.write(build, design, run)
    if (build / vitis.SOURCES).is_dir():
        vitis.write(build, design, run)


def _images(path: Path, model: Description, batch: int) -> np.ndarray:
    """uint8 [batch, H, W, C]: the first ones of the archive, the last of them repeated; random ones without it."""
    image = model.model.image
    if not path.exists():
        shape = (batch, image.height, image.width, image.channels)
        return np.random.default_rng(SEED).integers(0, 256, shape, np.uint8)
    images, _ = load_images(path, image, batch)
    return images[np.minimum(np.arange(batch), len(images) - 1)]
