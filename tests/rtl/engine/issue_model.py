"""What the issuer must do: random programs with the weight stream their instructions share, and when all of it happens.

Programs follow the compiler, `Schedule` the docstrings of `Planner` and `Issuer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwgen.machine.isa import NO_WAIT, Dest, Op, Source, encode
from hwgen.machine.params import HwParams

__all__ = ["CONTEXT", "MATMUL", "SCORE", "Instruction", "Program", "Schedule", "Timed"]

MATMUL, SCORE, CONTEXT = range(3)


@dataclass
class Pass:
    """A step says what it reads: `a` (source, word, part), `k`, `v`, `s`, `word` (of the weight stream) and beside it
    `param` (index, word); with `pop` words leave the ring. `needs`: the last word of the stream that must have come
    before the first step, if nobody waited for it before."""

    steps: list[dict]
    needs: int = -1

    @property
    def kind(self) -> int:
        return self.steps[0]["kind"]

    @property
    def half(self) -> int:
        return self.steps[0]["tile"]["half"]


@dataclass
class Instruction:
    """`passes`: a MATMUL's by output tile; an ATTENTION's scores and context by query tile. `discards` take the words
    of a MATMUL without rows out of the ring."""

    op: Op
    f: dict[str, int]
    rows: int
    fetched: int = 0
    passes: list[Pass] = field(default_factory=list)
    discards: list[dict] = field(default_factory=list)

    @property
    def code(self) -> int:
        return int.from_bytes(encode(self.op, **self.f), "little")

    @property
    def slack(self) -> int:
        return self.f["slack"]

    @property
    def joins(self) -> bool:
        """Its first scores may come before the last context of an ATTENTION in front of it."""
        return self.op == Op.ATTENTION and self.slack == NO_WAIT


@dataclass
class Matrix:
    """Weights in the ring: their place in the stream and shape."""

    base: int
    tiles: int
    k_steps: int


class Program:
    """Random instructions; weights kept in the ring are planned as a compiler would."""

    def __init__(self, hw: HwParams, rng: np.random.Generator, *, settle: int) -> None:
        self.hw, self.rng, self.settle = hw, rng, settle
        self.instructions: list[Instruction] = []
        self.scored = 0  # query tiles so far: they take the halves of the score buffer in turn
        self.stream = 0  # words fetched so far
        self.kept: list[Matrix] = []  # in the ring's order

    def add(self, what: str | None = None, **given: int) -> Instruction:
        """`what`: attention, once, queue, keep (fetch and keep), again or last (read kept weights); None: any. `given`
        fields are not random."""
        possible = ["attention"] + (["again", "last"] if self.kept else ["once", "once", "queue"])
        if self._room() >= 2 * self.hw.param_words:
            possible += ["keep"]
        what = what or str(self.rng.choice(possible))
        assert what in possible
        instruction = self._attention(given) if what == "attention" else self._matmul(what, given)
        self.instructions.append(instruction)
        return instruction

    def _words(self, matrix: Matrix) -> int:
        return matrix.tiles * (self.hw.param_words + matrix.k_steps)

    def _room(self) -> int:
        return self.hw.weight_depth - sum(map(self._words, self.kept))

    def _slack(self) -> int:
        settle = self.settle
        return int(self.rng.choice([0, 0, settle // 2, settle - 1, settle, settle + 1, 254, NO_WAIT, NO_WAIT, NO_WAIT]))

    def _matmul(self, what: str, given: dict[str, int]) -> Instruction:
        hw, rng = self.hw, self.rng
        fresh = what in ("once", "queue", "keep")
        fetched = int(fresh and (what != "queue" or rng.random() < 0.8))
        if fresh:
            shortest, longest = hw.param_words, self._room() - hw.param_words
            k_steps = int(rng.choice([shortest, longest, rng.integers(shortest, longest + 1)]))
            k_steps, tiles = given.get("k_steps", k_steps), given.get("tiles", int(rng.integers(1, 5)))
            if what == "keep":
                tiles = min(tiles, self._room() // (hw.param_words + k_steps))
            matrix = Matrix(self.stream, tiles, k_steps)
            self.stream += fetched * self._words(matrix)
        else:
            matrix = self.kept[0 if what == "last" else int(rng.integers(len(self.kept)))]
        row_end = int(rng.integers(1, hw.max_tokens + 1))
        row_begin = int(rng.integers(row_end)) if rng.integers(2) else max(0, row_end - 1)
        row_begin, row_end = given.get("row_begin", row_begin), given.get("row_end", row_end)
        rows = row_end
        if what == "queue":
            rows = 0 if not fetched or rng.integers(2) else row_end
            row_begin = row_end = 0
        f = {
            "dest": int(rng.choice([Dest.Y, Dest.K, Dest.V, Dest.X_ADD])),
            "source": int(rng.choice([Source.Y, Source.H])),
            "a_unsigned": int(rng.integers(2)),
            "a_base": int(rng.integers(1 << 16)),
            "a_stride": int(rng.integers(1, 300)),
            "row_begin": row_begin,
            "row_end": row_end,
            "k_steps": matrix.k_steps,
            "tiles": matrix.tiles,
            "d_word": int(rng.integers(100)),
            "use_queue": int(what == "queue"),
            "keep": int(what in ("keep", "again")),
            "narrow": int(rng.integers(2)),
            "bytes": hw.ring_bytes * self._words(matrix) * fresh,  # but for 0 they do not matter
            "ring_offset": 0 if what == "again" else hw.weight_depth - self._room(),
            "slack": given.get("slack", self._slack()),
        }
        if what == "again":
            f["ring_offset"] = sum(map(self._words, self.kept[: self.kept.index(matrix)]))
        if what == "last":
            f["ring_offset"] = 0
            self.kept.pop(0)
        if what == "keep":
            self.kept.append(matrix)
        instruction = Instruction(Op.MATMUL, f, rows, fetched)
        words = hw.param_words + f["k_steps"]
        for tile in range(f["tiles"]):
            base = matrix.base + tile * words
            last = base + words - 1
            if rows:
                steps = list(self._products(f, rows, tile, base))
                instruction.passes.append(Pass(steps, needs=last if fresh else -1))
            elif fetched:
                instruction.discards.append({"halves": self._halves(f), "pop": words, "needs": last})
        return instruction

    def _halves(self, f: dict[str, int]) -> int:
        """What a tile's words take in DRAM, in halves of a ring word."""
        hw = self.hw
        if not f["narrow"]:
            return 2 * (hw.param_words + f["k_steps"])
        # In whole beats, in pairs of words if these are smaller.
        piece = min(hw.ring_bytes, hw.weight_bus // 8)
        packed = -(-f["k_steps"] * hw.ring_bytes // (2 * piece)) * piece
        return 2 * hw.param_words + 2 * packed // hw.ring_bytes

    def _products(self, f, rows, tile, base):
        t, parameters, parts = self.hw.t, self.hw.param_words, self.hw.word // self.hw.k
        words = parameters + f["k_steps"]
        first, count = f["row_begin"] // t, -(-rows // t)
        for row_tile in range(first, count):
            for s in range(f["k_steps"]):
                last = s == f["k_steps"] - 1
                address = f["a_base"] + (row_tile - first) * f["a_stride"] + s // parts
                step = {
                    "kind": MATMUL,
                    "a": (f["source"], address & 0xFFFF, s % parts),
                    "word": base + parameters + s,
                    "first": s == 0,
                    "last": last,
                    "tile": {"row_tile": row_tile, "word": f["d_word"] + tile, "first": row_tile == first},
                    "pop": words if last and row_tile == count - 1 and not f["keep"] else 0,
                }
                if row_tile == first and s < parameters:
                    step["param"] = (parameters - 1 - s, base + parameters - 1 - s)
                yield step

    def _attention(self, given: dict[str, int]) -> Instruction:
        hw, rng = self.hw, self.rng
        row_end = int(rng.integers(1, hw.max_tokens + 1))
        row_begin = max(0, row_end - int(rng.integers(1, 5 * hw.t)))
        row_begin, row_end = given.get("row_begin", row_begin), given.get("row_end", row_end)
        keys = row_end - row_begin // hw.word * hw.word
        f = {name: int(rng.integers(1 << 16)) for name in ("a_base", "k_base", "v_base")}
        f |= {name: int(rng.integers(1, 200)) for name in ("a_stride", "k_stride", "v_stride")}
        f |= {
            "row_begin": row_begin,
            "row_end": row_end,
            "k_steps": given.get("k_steps", int(rng.integers(1, 5))),
            "tiles": given.get("tiles", int(rng.integers(1, 4))),
            "d_word": int(rng.integers(50)),
            "key_tiles": -(-keys // hw.c),
            "pv_steps": -(-keys // hw.k),
            "slack": given.get("slack", self._slack()),
        }
        instruction = Instruction(Op.ATTENTION, f, row_end)
        for query in range(-(-row_end // hw.t) - row_begin // hw.t):
            half = self.scored % 2
            instruction.passes += [Pass(list(part(f, query, half))) for part in (self._scores, self._context)]
            self.scored += 1
        return instruction

    def _scores(self, f, query, half):
        first, parts = f["row_begin"] // self.hw.t, self.hw.word // self.hw.k
        for key_tile in range(f["key_tiles"]):
            for s in range(f["k_steps"]):
                query_word = f["a_base"] + query * f["a_stride"] + s // parts
                key_word = f["k_base"] + key_tile * f["k_stride"] + s // parts
                yield {
                    "kind": SCORE,
                    "a": (Source.H, query_word & 0xFFFF, s % parts),
                    "k": (key_word & 0xFFFF, s % parts),
                    "first": s == 0,
                    "last": s == f["k_steps"] - 1,
                    "tile": {"row_tile": first + query, "word": key_tile, "half": half, "first": key_tile == 0},
                }

    def _context(self, f, query, half):
        first = f["row_begin"] // self.hw.t
        for tile in range(f["tiles"]):
            for s in range(f["pv_steps"]):
                last = s == f["pv_steps"] - 1
                word = f["d_word"] + tile
                yield {
                    "kind": CONTEXT,
                    "v": f["v_base"] + s * f["v_stride"] + tile & 0xFFFF,
                    # s_first and s_last count with s_sum only
                    "s": {"half": half, "step": s, "sum": tile == 0}
                    | ({"first": s == 0, "last": last} if tile == 0 else {}),
                    "first": s == 0,
                    "last": last,
                    "tile": {"row_tile": first + query, "word": word, "half": half, "first": tile == 0},
                }


@dataclass
class Timed:
    """A pass and the cycles of its steps."""

    number: int  # of the instruction
    content: Pass
    cycles: list[int]


class Schedule:
    """Every cycle of a run, from those in which instructions were given (`starts`) and ring words came (`written`).

    `passes` in the order of their steps; `discards`: (cycle, discard); by instruction `begins` and `ends`: its pulses,
    `done` before the delay; `causes`: what each cycle with an instruction is spent with. `joins`: by pair of ATTENTIONs
    that could be joined, how many cycles too late (from 0 on) the second one came for that."""

    def __init__(
        self, program: Program, starts: Sequence[int], written: Sequence[int], *, score_settle: int, settle: int
    ) -> None:
        self.t, self.score_settle, self.settle = program.hw.t, score_settle, settle
        self.written = written
        self.passes: list[Timed] = []
        self.discards: list[tuple[int, dict]] = []
        self.begins: list[int] = []
        self.ends: list[int] = []
        self.causes: dict[int, str] = {}
        self.joins: list[int] = []
        self._loaded = self._planned = -1  # cycles in which the last pass was loaded, the last instruction planned
        self._last = self._tile_end = -1000  # last steps
        self._scored = [-1000, -1000]
        self._held: tuple[int, Pass] | None = None  # the context that waits for other scores
        for number, instruction in enumerate(program.instructions):
            self._plan(number, instruction, starts[number])
        if self._held:
            self._issue(self._planned + 1, *self._held, ends=True)
        for start, end in zip(starts, self.ends, strict=True):
            for cycle in range(start + 1, end + 1):
                self.causes.setdefault(cycle, "stall_issue")

    def steps(self) -> Iterator[tuple[int, int, dict]]:
        """In order: number of the instruction, cycle, step."""
        for timed in self.passes:
            for cycle, step in zip(timed.cycles, timed.content.steps, strict=True):
                yield timed.number, cycle, step

    def _plan(self, number: int, instruction: Instruction, start: int) -> None:
        """The fields are there two cycles after the start, or after the instruction before is planned; two more and the
        first pass is offered. A held context goes when the issuer has room, unless an instruction waits that joins."""
        fields = max(start, self._planned) + 2
        if self._held:
            room = max(self._planned, self._loaded) + 1
            if instruction.joins:
                self.joins.append(start - room)
            if start >= room or not instruction.joins:
                taken = self._issue(room if start >= room else fields, *self._held, ends=True)
                self._held = None
                fields = max(fields, taken + 1)
        offered = fields + 2
        if not instruction.passes:
            self._discard(instruction, offered)
        elif instruction.op == Op.ATTENTION:
            self._attend(number, instruction, offered)
        else:
            for index, tile in enumerate(instruction.passes):
                there = self.written[tile.needs] + 2 if tile.needs >= 0 else 0
                for cycle in range(max(offered, self._last + 1), there):
                    self.causes[cycle] = "starved"
                ends = tile is instruction.passes[-1]
                slack = instruction.slack if index == 0 else None
                self._planned = self._issue(max(offered, there), number, tile, slack=slack, ends=ends)
                offered = self._planned + 1

    def _attend(self, number: int, instruction: Instruction, offered: int) -> None:
        """Scores, then the context held; theirs takes its place. The last one outlives the instruction's planning."""
        for scores, context in zip(instruction.passes[::2], instruction.passes[1::2], strict=True):
            slack = instruction.slack if scores is instruction.passes[0] else None
            self._planned = self._issue(offered, number, scores, slack=slack) + 1
            if self._held:
                ends = self._held[0] != number
                self._planned = self._issue(self._planned, *self._held, ends=ends)
            self._held = (number, context)
            offered = self._planned + 1

    def _discard(self, instruction: Instruction, at: int) -> None:
        """When the issuer is quiet: tile by tile, in every third cycle, as words come."""
        begin = max(at, self._last + 2)
        self.begins.append(begin)
        self._planned = begin + 1
        for index, discard in enumerate(instruction.discards):
            free = self._planned + 3 * (index > 0)
            cycle = max(free, self.written[discard["needs"]] + 2)
            for wait in range(free - 2 * (index > 0), cycle):
                self.causes[wait] = "starved"
            self.discards.append((cycle, discard))
            self._planned = cycle
        self.ends.append(self._planned)

    def _issue(self, offered: int, number: int, work: Pass, *, slack: int | None = None, ends: bool = False) -> int:
        """The cycle in which the issuer takes the pass: one is taken ahead. Two cycles later it may be loaded, with the
        last step of the one before at the earliest; its first step comes next. `slack`: of an instruction's first pass.
        """
        taken = max(offered, self._loaded + 1)
        load = max(taken + 2, self._last)
        if work.kind == CONTEXT:
            load = max(load, self._scored[work.half] + self.score_settle - 1)
        elif slack is not None and slack < self.settle:
            load = max(load, self._last + max(2, self.settle - slack))
        for cycle in range(max(taken, self._last) + 1, load):
            self.causes[cycle] = "stall_pipeline"
        cycles, cycle = [], load
        for step in work.steps:
            cycle += 1
            if step["last"]:
                for wait in range(cycle, self._tile_end + self.t):
                    self.causes[wait] = "stall_drain"
                cycle = self._tile_end = max(cycle, self._tile_end + self.t)
            self.causes[cycle] = "step"
            cycles.append(cycle)
        if slack is not None:
            self.begins.append(load + 1)
        if ends:
            self.ends.append(cycle)
        if work.kind == SCORE:
            self._scored[work.half] = cycle
        self.passes.append(Timed(number, work, cycles))
        self._loaded, self._last = load, cycle
        return taken
