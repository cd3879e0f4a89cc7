"""From a description to programs: one instruction sequence per task over shared tables and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwgen.common.errors import HwgenError
from hwgen.compiler.attention import attention
from hwgen.compiler.blocks import Blocks
from hwgen.compiler.builder import Builder
from hwgen.compiler.embed import embed
from hwgen.compiler.emit import Instr
from hwgen.compiler.heads import head
from hwgen.compiler.layout import Layout, div_up, stored_words
from hwgen.compiler.mlp import dense, experts
from hwgen.compiler.packing import Region
from hwgen.compiler.probes import Probe
from hwgen.compiler.sizing import check_fits
from hwgen.compiler.spill import spilled_program
from hwgen.compiler.wipe import wipe
from hwgen.machine import isa
from hwgen.machine.params import ALIGN, HwParams
from hwgen.network.description import Description, MoeMlp, Task

__all__ = ["Compiled", "Instr", "compile_model"]


@dataclass(frozen=True)
class Compiled:
    """A model for one accelerator: the two binary files, what is in them, and how to read the results.

    A run takes `batch` images and writes their outputs; shapes are those of one image.
    """

    program: bytes  #: what LOADs read, then the instructions
    weights: bytes
    entries: dict[str, int]  #: byte offset of each task's program
    instructions: dict[str, tuple[Instr, ...]]
    probes: dict[str, tuple[Probe, ...]]  #: ascending by instruction
    batch: int
    input_bytes: int
    image_stride: int  #: bytes from one image to the next in the input region
    output_bytes: dict[str, int]
    region_bytes: dict[str, int]  #: of the output region: outputs, and behind them what is spilled
    output_shapes: dict[str, tuple[int, int]]
    blocks: Blocks  #: into which the network is cut
    clear: int | None = None  #: byte offset of the program that clears all buffers, if there is one

    @property
    def comments(self) -> dict[int, str]:
        """What each instruction computes, by byte offset: `disassemble` shows it."""
        return {
            entry + i * isa.BYTES: f"{task}: {instr.name}"
            for task, entry in self.entries.items()
            for i, instr in enumerate(self.instructions[task])
        }

    def pack_input(self, images: NDArray[np.uint8]) -> bytes:
        """The input region for uint8 [batch, height, width, channels]."""
        if len(images) != self.batch:
            raise ValueError(f"images must be {self.batch}, not {len(images)}")
        return b"".join(image.tobytes().ljust(self.image_stride, b"\0") for image in images)[: self.input_bytes]

    def unpack_output(self, task: str, raw: bytes) -> NDArray[np.int16]:
        """int16 [batch, rows, outputs] from the bytes of the output region."""
        rows, columns = self.output_shapes[task]
        words = np.frombuffer(raw, "<i2", self.output_bytes[task] // 2).reshape(self.batch, rows, -1)
        return words[:, :, :columns].astype(np.int16)


def compile_model(desc: Description, p: HwParams, batch: int = 1, *, clear: bool = False) -> Compiled:
    """Compile all tasks of a checked description for runs of `batch` images, and with `clear` the program that leaves
    nothing of them in the buffers. Raises HwgenError when it does not fit `p`."""
    layout = check_fits(desc, p, batch)
    weights, tables = Region(p.weight_align), Region(ALIGN)
    outputs = {task.name: 2 * p.c * batch * desc.model.output_shape(task)[0] * stored_words(desc, p, task)
               for task in desc.model.tasks}  # fmt: skip
    spilled = layout.rows * layout.stream_bytes if layout.blocks.stream else 0
    behind = {name: div_up(size, ALIGN) * ALIGN for name, size in outputs.items()}  # where that is spilled to
    programs = {task.name: _program(layout, weights, tables, task, behind[task.name]) for task in desc.model.tasks}
    wiping = wipe(p, weights, tables) if clear else []
    binary = bytearray(tables.data)
    entries: dict[str, int] = {}
    for task, emitted in programs.items():
        entries[task] = len(binary)
        binary += b"".join(_encode(desc, instr) for instr in emitted.instructions)
    clear_entry = len(binary) if clear else None
    binary += b"".join(_encode(desc, instr) for instr in wiping)
    image, shapes = desc.model.image, {task.name: desc.model.output_shape(task) for task in desc.model.tasks}
    return Compiled(
        program=bytes(binary),
        weights=weights.data,
        entries=entries,
        instructions={task: tuple(emitted.instructions) for task, emitted in programs.items()},
        probes={task: emitted.probes for task, emitted in programs.items()},
        batch=batch,
        input_bytes=(batch - 1) * layout.image_stride + image.height * image.width * image.channels,
        image_stride=layout.image_stride,
        output_bytes=outputs,
        region_bytes={name: behind[name] + spilled if spilled else size for name, size in outputs.items()},
        output_shapes=shapes,
        blocks=layout.blocks,
        clear=clear_entry,
    )


def _program(layout: Layout, weights: Region, tables: Region, task: Task, behind: int) -> Builder:
    """The instructions of a task: the parts of the model in order. behind: the outputs, where there is room."""
    b = Builder(layout, weights, tables, task)
    if layout.blocks.stream:
        spilled_program(b, behind)
        b.end()
        return b
    embed(b)
    for index, layer in enumerate(layout.desc.model.layers):
        attention(b, index, layer.mlp.activation)
        if isinstance(layer.mlp, MoeMlp):
            experts(b, index, layer.mlp)
        else:
            dense(b, index, layer.mlp)
    head(b)
    b.end()
    return b


def _encode(desc: Description, instr: Instr) -> bytes:
    try:
        return instr.encode()
    except ValueError as error:
        raise HwgenError(f"model {desc.model.name}", instr.name, expected="values that fit the instruction word",
                         found=str(error), mend="make the model smaller") from None
