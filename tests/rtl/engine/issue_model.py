"""What the issuer must do: random programs with the weight stream their instructions share, as the compiler makes
them. When all of it happens: `issue_schedule.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwgen.machine.isa import NO_WAIT, Dest, Op, Source, encode
from hwgen.machine.params import HwParams

__all__ = ["CONTEXT", "MATMUL", "SCORE", "Instruction", "Pass", "Program"]

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
