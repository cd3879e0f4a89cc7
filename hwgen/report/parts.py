"""A run by part of the network: cycles and what they went to, products, bytes; the embedding, each layer, the head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hwgen.build import Build
from hwgen.compiler import Instr
from hwgen.machine.isa import Op
from hwgen.network.macs import macs_by_part
from hwgen.report.timeline import Timeline

__all__ = ["Part", "fetched_bytes", "part_of", "parts"]

_LAYER = re.compile(r"layers\.(\d+)\.(\w+)")
#: What follows `layers.I.` in the names of an attention's instructions; all others of a layer are the MLP's.
_ATTENTION = {"norm1", "q", "k", "v", "context", "attn"}
_EMBED = {"patches", "position", "embed", "norm_pre"}


@dataclass
class Part:
    """Of a run, all images of its batch: `busy` and `stalls` in cycles of the array; useful MACs; bytes from and to
    DRAM, by kind."""

    name: str
    busy: int = 0
    stalls: dict[str, int] = field(default_factory=dict)
    macs: int = 0
    bytes: dict[str, int] = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        return self.busy + sum(self.stalls.values())

    def read(self, kind: str, size: int) -> None:
        if size:
            self.bytes[kind] = self.bytes.get(kind, 0) + size


def part_of(name: str) -> str:
    """The part that an instruction of this name works for: `embed`, `layers.I.attention`, `layers.I.mlp`, `head`."""
    name = name.removeprefix("parameters of ")
    if found := _LAYER.match(name):
        attends = found[2] in _ATTENTION or found[2].startswith(("attn", "q_", "k_"))
        return f"layers.{found[1]}.{'attention' if attends else 'mlp'}"
    # A table of an activation comes ahead of the first layer that wants it.
    return "embed" if name.split(" ")[0] in _EMBED or name.startswith("table of ") else "head"


def parts(build: Build, timeline: Timeline) -> list[Part]:
    """In the order of the computation. What comes behind the array's last step, such as the output, is the head's."""
    batch, task = timeline.batch, timeline.task
    found = {name: Part(name, macs=batch * macs) for name, macs in macs_by_part(build.model, task).items()}
    names = timeline.instructions.name
    for share in timeline.shares():
        part = found["head" if share.instruction is None else part_of(names[share.instruction])]
        part.busy += share.busy
        for cause, cycles in share.stalls.items():
            part.stalls[cause] = part.stalls.get(cause, 0) + cycles
    program = build.compiled.instructions[task]
    fetched = fetched_bytes(program, timeline)
    for number, instr in enumerate(program):
        found[part_of(instr.name)].read(kind_of(instr), fetched[number])
    return list(found.values())


def fetched_bytes(program: tuple[Instr, ...], timeline: Timeline) -> list[int]:
    """Of each instruction, bytes over the memory's ports: as simulated, else those its program names."""
    if timeline.source == "estimate":
        return [instr.fields.get("bytes", 0) for instr in program]
    found = [0] * len(program)
    for number, size in zip(timeline.transfers.instruction, timeline.transfers.bytes, strict=True):
        if number is not None:
            found[number] += size
    return found


#: What the bytes of an instruction are.
_KINDS: Mapping[Op, str] = {Op.LOAD: "tables", Op.IMAGE: "image", Op.STORE: "output"}
_WEIGHTS = re.compile(r"layers\.\d+\.(?:(q|k|v)$|(attn)|(logits)|(expert|moe)\.|(hidden|mlp))")
_OF = ("q, k, v", "projection", "gate", "experts", "MLP")


def kind_of(instr: Instr) -> str:
    """Of weights, whose; else what is read or written."""
    if instr.op != Op.MATMUL:
        if instr.name.endswith("stream"):  # the residual's, in DRAM
            return "stream"
        return _KINDS.get(instr.op, "")
    found = _WEIGHTS.match(instr.name)
    if not found:
        return "embedding" if part_of(instr.name) == "embed" else "head"
    return next(name for name, group in zip(_OF, found.groups(), strict=True) if group)
