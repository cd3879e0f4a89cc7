"""Independent check of a program's ORDER fields: what may run at the same time must not get in each other's way.

From the binary and HwParams alone: the words each instruction reads and writes (the rows of an expert's queue: any that
were routed), which earlier instructions may still be under way when it is dispatched, and, within the engine, in which
step an operand is read and a result leaves. It shares nothing with the compiler's derivation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwgen.machine.isa import ADDRESSES, BYTES, NO_WAIT, UNITS, Dest, Op, Source, decode
from hwgen.machine.params import HwParams

__all__ = ["Hazard", "find_hazards"]

Words = NDArray[np.int64]

ENGINE_QUEUE = 4
#: Cycles between reading an old word of the residual stream and its sum being readable.
ADD_CYCLES = 5
UNIT_OF = {op: unit for unit, ops in UNITS.items() for op in ops}


@dataclass(frozen=True)
class Hazard:
    """`second` may start while `first` (numbers of instructions) is under way, and they collide."""

    first: int
    second: int
    kind: str  #: RAW, WAR, WAW: `second` against `first`; port
    where: str  #: buffer or port
    detail: str

    def __str__(self) -> str:
        return f"{self.second} beside {self.first}: {self.kind} on {self.where}, {self.detail}"


@dataclass
class Effects:
    """Numbers of the C-words touched, by buffer. The engine's come with a time each: steps from the first one to the
    read, and up to and with the last step of the result."""

    steps: int = 0
    reads: dict[str, tuple[Words, Words]] = field(default_factory=dict)
    writes: dict[str, tuple[Words, Words]] = field(default_factory=dict)

    def read(self, buffer: str, words: Words, times: Words | int = 0) -> None:
        self.reads[buffer] = words.ravel(), np.broadcast_to(times, words.shape).ravel()

    def write(self, buffer: str, words: Words, times: Words | int = 0) -> None:
        self.writes[buffer] = words.ravel(), np.broadcast_to(times, words.shape).ravel()


@dataclass
class Instruction:
    """One instruction of the program. `tokens`: those an expert's queue may have."""

    p: HwParams
    number: int
    op: Op
    f: dict[str, int]
    tokens: range = range(0)

    @property
    def unit(self) -> str:
        return UNIT_OF[self.op]

    @property
    def queued(self) -> bool:
        return self.op == Op.MATMUL and bool(self.f["use_queue"])

    @cached_property
    def effects(self) -> Effects:
        """With as many rows as there may be."""
        return self.with_rows(len(self.tokens))

    @cached_property
    def shortest(self) -> Effects:
        """With one row, if it is an expert's."""
        return self.with_rows(1) if self.queued else self.effects

    @property
    def variants(self) -> list[Effects]:
        return [self.shortest, self.effects] if self.queued else [self.effects]

    @cached_property
    def ports(self) -> set[str]:
        """What only one unit may use at a time."""
        f, op = self.f, self.op
        ports = set()
        if op in (Op.ATTENTION, Op.NORM, Op.IMAGE) or (op == Op.MATMUL and f["dest"] == Dest.Y):
            ports.add("row writes of Y")
        if op in (Op.GATHER, Op.MEAN) or (op in (Op.MATMUL, Op.STORE) and f["source"] == Source.Y):
            ports.add("row reads of Y")
        if op == Op.STORE and f["source"] == Source.X:
            ports |= {"reads of X by NORM"} | ({"reads of X by MATMUL"} if not self.p.spill else set())
        if op == Op.NORM or (op == Op.MATMUL and f["dest"] == Dest.X_ADD):
            ports.add(f"reads of X by {op.name}")
        return ports

    def with_rows(self, routed: int) -> Effects:
        effects = Effects()
        getattr(self, f"_{self.op.name.lower()}")(effects, routed)
        return effects

    # Words of the buffers.

    def _words(self, buffer: str, rows: Words, base: int, stride: int, first: int, count: int) -> Words:
        """Numbers [rows, count] of C-words `first`, ... of rows; `base` is the word of row 0's group."""
        p = self.p
        banks = {"Y": p.t, "H": p.t, "K": p.c, "V": p.k}.get(buffer, 1)
        parts = p.word // p.c if buffer in ("Y", "H", "K") else 1
        word = first + np.arange(count)
        address = base + rows[:, None] // banks * stride + word // parts & ADDRESSES - 1
        return ((address * banks + rows[:, None] % banks) * parts + word % parts).astype(np.int64)

    def _source(self, buffer: str, rows: Words, count: int) -> Words:
        """C-words from a_base on, which is of the group of row_begin."""
        banks = self.p.t if buffer != "X" else 1
        first = self.f.get("row_begin", 0) // banks * banks
        return self._words(buffer, rows - first, self.f["a_base"], self.f["a_stride"], 0, count)

    @property
    def _queued(self) -> Words:
        """Tokens that a queue may have."""
        return np.arange(self.tokens.start, self.tokens.stop)

    @property
    def _rows(self) -> Words:
        return np.arange(self.f["row_begin"], self.f["row_end"])

    def _tiles(self, rows: Words) -> Words:
        """Row tiles, counted from the first one, as a column."""
        return (rows // self.p.t - self.f.get("row_begin", 0) // self.p.t)[:, None]

    # Instructions.

    def _matmul(self, effects: Effects, routed: int) -> None:
        p, f = self.p, self.f
        rows = np.arange(routed) if f["use_queue"] else self._rows
        steps, tile = f["k_steps"], self._tiles(rows)
        row_tiles = int(tile.max()) + 1
        inputs = np.arange(-(-steps * p.k // p.c))
        effects.steps = row_tiles * f["tiles"] * steps
        effects.read("Y" if f["source"] == Source.Y else "H", self._source("H", rows, len(inputs)),
                     tile * steps + inputs * p.c // p.k)  # fmt: skip
        if f["use_queue"]:
            effects.read("QUEUE", np.zeros(1, np.int64))
        if f["activate"]:  # until the last row has passed the table
            effects.read("ACTIVATION", np.zeros(1, np.int64), row_tiles * f["tiles"] * steps)
        targets = self._queued if f["scatter"] else rows
        # A token's slot is not known: its row may leave with the last row tile.
        last = row_tiles - 1 if f["scatter"] else tile
        times = (np.arange(f["tiles"]) * row_tiles + last + 1) * steps
        dest = Dest(f["dest"])
        buffer = "X" if dest == Dest.X_ADD else dest.name
        stride = -(-p.max_experts // p.c) if dest == Dest.LOGITS else f["d_stride"]
        words = self._words(buffer, targets, f["d_base"], stride, f["d_word"], f["tiles"])
        effects.write(buffer, words, np.broadcast_to(times, words.shape))
        if f["gated"]:  # what is there before, once the tile is done
            effects.read(buffer, words, np.broadcast_to(times, words.shape))

    def _attention(self, effects: Effects, routed: int) -> None:
        p, f, rows = self.p, self.f, self._rows
        first = f["row_begin"] // p.word * p.word
        keys, tile = rows - first, self._tiles(rows)
        count = int(tile.max()) + 1
        # One pass after the other: the scores of a query tile, then the context of the one before.
        passes = [("score", 0)]
        for number in range(1, count + 1):
            passes += [("score", number)] * (number < count) + [("context", number - 1)]
        start: dict[tuple[str, int], int] = {}
        for item in passes:
            start[item] = effects.steps
            effects.steps += f["key_tiles"] * f["k_steps"] if item[0] == "score" else f["tiles"] * f["pv_steps"]
        inputs = np.arange(-(-f["k_steps"] * p.k // p.c))
        step = inputs * p.c // p.k
        scores, contexts = (np.array([start[what, number] for number in range(count)]) for what in ("score", "context"))
        effects.read("H", self._source("H", rows, len(inputs)), scores[tile] + step)
        effects.read("K", self._words("K", keys, f["k_base"], f["k_stride"], 0, len(inputs)),
                     keys[:, None] // p.c * f["k_steps"] + step)  # fmt: skip
        outputs = np.arange(f["tiles"])
        effects.read("V", self._words("V", keys, f["v_base"], f["v_stride"], 0, f["tiles"]),
                     contexts[0] + outputs * f["pv_steps"] + keys[:, None] // p.k)  # fmt: skip
        effects.write("Y", self._words("Y", rows, f["d_base"], f["d_stride"], f["d_word"], f["tiles"]),
                      contexts[tile] + (outputs + 1) * f["pv_steps"])  # fmt: skip

    def _norm(self, effects: Effects, routed: int) -> None:
        f, rows = self.f, self._rows
        half = 1 << (self.p.norm_depth - 1).bit_length()
        effects.read("X", self._source("X", rows, f["tiles"]))
        effects.read("TABLE", 4 * half * f["table"] + np.arange(4 * f["tiles"]))
        effects.write("Y", self._words("Y", rows, f["d_base"], f["d_stride"], 0, f["tiles"]))

    def _route(self, effects: Effects, routed: int) -> None:
        p, words = self.p, -(-self.f["tiles"] // self.p.c)
        effects.read("LOGITS", self._words("LOGITS", self._rows, 0, -(-p.max_experts // p.c), 0, words))
        effects.write("QUEUE", np.zeros(1, np.int64))

    def _gather(self, effects: Effects, routed: int) -> None:
        f, rows = self.f, np.arange(routed)
        effects.read("Y", self._source("Y", self._queued, f["tiles"]))
        effects.read("QUEUE", np.zeros(1, np.int64))
        effects.write("H", self._words("H", rows, f["d_base"], f["d_stride"], 0, f["tiles"]))

    def _mean(self, effects: Effects, routed: int) -> None:
        f = self.f
        effects.read("Y", self._source("Y", self._rows, f["tiles"]))
        effects.write("H", self._words("H", np.array([0]), f["d_base"], f["d_stride"], 0, f["tiles"]))

    def _image(self, effects: Effects, routed: int) -> None:
        p, f = self.p, self.f
        size = f["a_stride"] * f["k_steps"]  # bytes of a patch
        rows = f["row_begin"] + np.arange(f["bytes"] // size)
        effects.write("Y", self._words("Y", rows, f["d_base"], f["d_stride"], 0, -(-size // p.c)))

    def _load(self, effects: Effects, routed: int) -> None:
        words = self.f["d_base"] + np.arange(self.f["bytes"] // (2 * self.p.c))
        if self.f["dest"] == Dest.ACTIVATION:
            words = np.zeros(1, np.int64)
        effects.write({Dest.X: "X", Dest.NORM: "TABLE"}.get(Dest(self.f["dest"]), "ACTIVATION"), words)

    def _store(self, effects: Effects, routed: int) -> None:
        buffer = "X" if self.f["source"] == Source.X else "Y"
        effects.read(buffer, self._source(buffer, self._rows, self.f["tiles"]))


def find_hazards(p: HwParams, program: bytes, entry: int = 0, *, settle: int | None = None) -> Iterator[Hazard]:
    """All hazards of the program at `entry`. `settle`: cycles from a step to its result in the buffer, at most."""
    settle = 64 + p.t if settle is None else settle
    engine: list[Instruction] = []  # unfinished at most
    others: dict[str, Instruction] = {}  # may be busy
    for now in _decoded(p, program, entry):
        if now.unit == "engine":
            engine = engine[1 - ENGINE_QUEUE :]
        engine = engine[max(0, len(engine) - now.f["engine_lag"]) :]
        others = {unit: busy for unit, busy in others.items() if unit != now.unit and now.f[f"beside_{unit}"]}
        for busy in [*others.values(), *(engine if now.unit != "engine" else ())]:
            yield from _beside(busy, now)
        if now.unit == "engine":
            yield from _behind(engine, now, settle)
            engine.append(now)
        else:
            others[now.unit] = now


def _decoded(p: HwParams, program: bytes, entry: int) -> Iterator[Instruction]:
    tokens = range(0)  # that queues have
    for number, at in enumerate(range(entry, len(program), BYTES)):
        f = decode(program[at : at + BYTES])
        op = Op(f.pop("op"))
        if op == Op.END:
            return
        if op == Op.ROUTE:
            tokens = range(tokens.start if f["append"] else f["row_begin"], f["row_end"])
        yield Instruction(p, number, op, f, tokens)


def _beside(busy: Instruction, now: Instruction) -> Iterator[Hazard]:
    """Conflicts of two units."""
    kinds = (
        ("RAW", busy.effects.writes, now.effects.reads),
        ("WAR", busy.effects.reads, now.effects.writes),
        ("WAW", busy.effects.writes, now.effects.writes),
    )
    for kind, early, late in kinds:
        for buffer in early.keys() & late.keys():
            if count := len(np.intersect1d(early[buffer][0], late[buffer][0])):
                yield Hazard(busy.number, now.number, kind, buffer, f"{count} words")
    for port in busy.ports & now.ports:
        yield Hazard(busy.number, now.number, "port", port, f"{busy.op.name} and {now.op.name}")


def _behind(engine: list[Instruction], now: Instruction, settle: int) -> Iterator[Hazard]:
    """Conflicts within the engine: reads too early behind the step of the result; sums onto sums still under way."""
    wait = 0 if now.f["slack"] == NO_WAIT else max(0, settle - now.f["slack"])
    between = -_overlap(engine[-1:], now)  # steps surely taken
    for number, early in reversed(list(enumerate(engine))):
        for buffer in early.effects.writes.keys() & now.effects.reads.keys():
            pairs = [(first, second.reads[buffer]) for first in early.variants for second in now.variants]
            cycles = wait + between + min(_least(first, buffer, *read) for first, read in pairs)
            if cycles < settle:
                yield Hazard(early.number, now.number, "RAW", buffer, f"{cycles} cycles of {settle}")
        if early.f.get("gated") and "H" in now.effects.reads and not now.f.get("gated"):
            cycles = wait + between + min(int(variant.reads["H"][1].min()) for variant in now.variants)
            if cycles < settle:  # its rows are still read, and operands come first
                yield Hazard(early.number, now.number, "port", "row reads of H", f"{cycles} cycles of {settle}")
        if early.f.get("dest") == now.f.get("dest") == Dest.X_ADD:
            words, times = now.shortest.writes["X"]
            cycles = wait + between + _least(early.shortest, "X", words, np.full(len(words), times.min()))
            if cycles < ADD_CYCLES:
                yield Hazard(early.number, now.number, "RAW", "X", f"sums {cycles} cycles apart")
        if not early.queued or (now.queued and early.f["expert"] == now.f["expert"]):
            between += early.shortest.steps - _overlap(engine[:number][-1:], early)


def _overlap(before: list[Instruction], now: Instruction) -> int:
    """Steps by which `now` may begin before the instruction before it ends: its first scores come before the last
    context of that one."""
    if not before or not before[0].op == now.op == Op.ATTENTION or now.f["slack"] != NO_WAIT:
        return 0
    return now.f["key_tiles"] * now.f["k_steps"] + before[0].f["tiles"] * before[0].f["pv_steps"]


def _least(early: Effects, buffer: str, words: Words, times: Words) -> float:
    """Steps from the last one of a result to the use of its word: the least over all words; infinite without any."""
    written, finished = early.writes[buffer]
    common, at, used = np.intersect1d(written, words, return_indices=True)
    return int((early.steps - finished[at] + times[used]).min()) if len(common) else np.inf
