"""What simulations of a build run: every task of a model on the same images, with the outputs of the golden model.

Tested by tests/flows/test_fusesoc.py and tests/flows/test_vitis.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.model import Golden
from hwgen.compiler import Compiled
from hwgen.compiler.packing import port_images
from hwgen.machine.params import HwParams
from hwgen.network.description import Description

__all__ = ["TaskRun", "Vectors", "vectors"]


@dataclass(frozen=True)
class TaskRun:
    """`expected` are rows of `row` bytes, which a run from `entry` on leaves `pitch` apart in an output region of
    `size` bytes."""

    name: str
    entry: int
    size: int
    row: int
    pitch: int
    expected: bytes


@dataclass(frozen=True)
class Vectors:
    """Contents of the regions that are read (the weights' as each port reads them), and the runs."""

    program: bytes
    weights: tuple[bytes, ...]
    input: bytes
    tasks: tuple[TaskRun, ...]


def vectors(p: HwParams, model: Description, compiled: Compiled, images: NDArray[np.uint8]) -> Vectors:
    """For one run per task on uint8 [batch, height, width, channels]."""
    golden = Golden(model)
    tasks = []
    for name, entry in compiled.entries.items():
        rows, columns = compiled.output_shapes[name]
        pitch = compiled.output_bytes[name] // (rows * compiled.batch)
        expected = golden.run(images, name).output.astype("<i2").tobytes()
        tasks.append(TaskRun(name, entry, compiled.region_bytes[name], 2 * columns, pitch, expected))
    shares = port_images(compiled.weights, p.weight_ports, p.port_bits // 8)
    return Vectors(compiled.program, shares, compiled.pack_input(images), tuple(tasks))
