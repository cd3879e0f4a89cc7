"""Which tensor lies where in the buffers, and how long: from the program's addresses and a timeline.

An instruction is taken to touch all words from its first to its last; a tensor lives from its first write to its last
read, or until another one is written over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwgen.build import Build
from hwgen.compiler import Instr
from hwgen.compiler.layout import div_up
from hwgen.machine.isa import ADDRESSES, Dest, Op, Source
from hwgen.machine.params import HwParams
from hwgen.report.timeline import Timeline

__all__ = ["BUFFERS", "Stay", "depths", "stays", "touched"]

#: Those that a program addresses; the weight ring is filled in the order of use.
BUFFERS = ("X", "Y", "H", "K", "V")
#: A tensor is whole for the map: heads, blocks of rows, experts' parts of a sum.
_PART = re.compile(r" (?:head \d+|into \w+|rows of expert \d+)$")


@dataclass
class Stay:
    """A tensor in words first .. last of each bank of a buffer, from cycle `begin` to `end`."""

    buffer: str
    tensor: str
    first: int
    last: int
    begin: int
    end: int

    def meets(self, first: int, last: int) -> bool:
        return self.first <= last and first <= self.last


def depths(p: HwParams) -> dict[str, int]:
    """Words of a bank."""
    return {"X": p.x_depth, "Y": p.y_depth, "H": p.h_depth, "K": p.k_depth, "V": p.v_depth}


def stays(build: Build, timeline: Timeline) -> list[Stay]:
    """Of all tensors, as they are written."""
    table, p = timeline.instructions, build.params
    program = build.compiled.instructions[timeline.task]
    idle = _idle(program, table.begin)
    ran = sorted((begin, number) for number, begin in enumerate(table.begin)
                 if begin is not None and number not in idle)  # fmt: skip
    rows = build.compiled.batch * build.model.model.tokens
    done: list[Stay] = []
    alive: dict[str, list[Stay]] = {name: [] for name in BUFFERS}
    for begin, number in ran:
        end = table.end[number] or begin
        tensor = _tensor(program[number])
        for writes, buffer, first, last in touched(p, program[number], rows):
            there = [stay for stay in alive[buffer] if stay.meets(first, last)]
            if not writes:
                for stay in there:
                    stay.end = max(stay.end, end)
                continue
            same = next((stay for stay in alive[buffer] if stay.tensor == tensor), None)
            gone = [stay for stay in there if stay is not same]
            for stay in gone:
                stay.end = max(stay.begin + 1, min(stay.end, begin))
            done += gone
            alive[buffer] = [stay for stay in alive[buffer] if stay not in gone]
            if same is None:
                alive[buffer].append(Stay(buffer, tensor, first, last, begin, end))
            else:
                same.first, same.last, same.end = min(same.first, first), max(same.last, last), max(same.end, end)
    for rest in alive.values():
        done += rest
    return sorted(done, key=lambda stay: (BUFFERS.index(stay.buffer), stay.begin))


def _idle(program: Sequence[Instr], begins: Sequence[int | None]) -> set[int]:
    """Instructions for an expert whose queue is empty: there was nothing to gather."""
    gathered: dict[int, bool] = {}
    found = set()
    for number, instr in enumerate(program):
        if instr.op == Op.GATHER:
            gathered[instr.fields["expert"]] = begins[number] is not None
        elif instr.fields.get("use_queue") and not gathered.get(instr.fields["expert"], True):
            found.add(number)
    return found


def _tensor(instr: Instr) -> str:
    """What it writes: of a sum into the residual stream, the stream's name."""
    if instr.op == Op.LOAD and instr.fields.get("dest") == Dest.X:
        return "position"
    name = _PART.sub("", instr.name)
    if instr.fields.get("dest") == Dest.X_ADD and ".moe.experts." in name:
        return f"{name.split('.moe.')[0]}.mlp"
    return f"{name} gathered" if instr.op == Op.GATHER else name



def touched(p: HwParams, instr: Instr, most: int) -> Iterator[tuple[bool, str, int, int]]:
    """(writes, buffer, first word, last word), reads first. most: rows that an expert's queue may have."""
    f, op = instr.fields, instr.op

    def get(name: str) -> int:
        return f.get(name, 0)

    rows = (0, most) if get("use_queue") else (get("row_begin"), get("row_end"))
    groups = div_up(rows[1], p.t) - rows[0] // p.t - 1
    inputs, outputs = div_up(get("k_steps") * p.k, p.word), get("tiles")

    def source(buffer: str, words: int) -> tuple[bool, str, int, int]:
        count = rows[1] - rows[0] - 1 if buffer == "X" else groups
        return False, buffer, get("a_base"), get("a_base") + count * get("a_stride") + words - 1

    def target(buffer: str, span: tuple[int, int], words: int) -> tuple[bool, str, int, int]:
        banks = {"X": 1, "Y": p.t, "H": p.t, "K": p.c, "V": p.k}[buffer]
        parts = p.word // p.c if buffer in ("Y", "H", "K") else 1
        first = get("d_base") + span[0] // banks * get("d_stride") + get("d_word") // parts
        last = get("d_base") + (span[1] - 1) // banks * get("d_stride") + (get("d_word") + words - 1) // parts
        return True, buffer, first % ADDRESSES, last % ADDRESSES

    packed = div_up(outputs, p.word // p.c)
    if op == Op.MATMUL:
        yield source(Source(get("source")).name, inputs)
        dest = Dest(get("dest"))
        buffer = "X" if dest == Dest.X_ADD else dest.name
        if buffer in BUFFERS:
            written = target(buffer, (0, most) if get("scatter") else rows, outputs)
            if dest == Dest.X_ADD or get("gated"):
                yield False, *written[1:]
            yield written
    elif op == Op.ATTENTION:
        yield source("H", inputs)
        keys, steps = get("key_tiles"), get("pv_steps")
        yield False, "K", get("k_base"), get("k_base") + (keys - 1) * get("k_stride") + inputs - 1
        yield False, "V", get("v_base"), get("v_base") + (steps - 1) * get("v_stride") + outputs - 1
        yield target("Y", rows, outputs)
    elif op == Op.NORM:
        yield source("X", outputs)
        yield target("Y", rows, outputs)
    elif op in (Op.GATHER, Op.MEAN):
        yield source("Y", packed)
        yield target("H", rows if op == Op.GATHER else (0, 1), outputs)
    elif op == Op.STORE:
        buffer = Source(get("source")).name
        yield source(buffer, outputs if buffer == "X" else packed)
    elif op == Op.IMAGE:
        size = get("a_stride") * get("k_steps")
        yield target("Y", (rows[0], rows[0] + get("bytes") // size), div_up(size, p.c))
    elif op == Op.LOAD and get("dest") == Dest.X:
        yield True, "X", get("d_base"), get("d_base") + get("bytes") // (2 * p.c) - 1
