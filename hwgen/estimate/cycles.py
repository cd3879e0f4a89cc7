"""The analytic cycle model: what a run of a program costs, from its instructions alone.

One walk over the program in its order. For each instruction the model knows when it may be dispatched (order fields,
its own unit), how long its unit takes, and for the engine when each output tile's weights are in the ring: they stream
in at the bus's pace as far ahead as the ring, the open bursts and the instruction queue reach. Data are not simulated;
how many tokens each expert gets is given, or taken to be what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd

import numpy as np

from hwgen.compiler.layout import div_up
from hwgen.compiler.program import Compiled, Instr
from hwgen.estimate.step import Step
from hwgen.estimate.weight_stream import READ, WeightStream
from hwgen.machine import isa
from hwgen.machine.interfaces import max_beats
from hwgen.machine.isa import NO_WAIT, UNITS, Dest, Op
from hwgen.machine.params import HwParams
from hwgen.rtl.engine.timing import engine_timing
from hwgen.rtl.memory.axi import OUTSTANDING

__all__ = ["CAUSES", "CycleEstimate", "estimate", "usual_lengths"]

#: Why the array took no step; one `stall_*` counter each.
CAUSES = ("weights", "drain", "pipeline", "issue", "norm", "router", "mover", "data", "fetch")
UNIT_OF = {op: unit for unit, ops in UNITS.items() for op in ops}

# Cycles that no formula below explains: from the start bit to the first instruction's request and from END to done;
# between two dispatches; from what a dispatch waited for to the unit's first cycle, in the engine from there to its
# first step if it has nothing else to do; from the last word of a tile to the tile's first step.
START_UP, DISPATCH, BEGIN, ENGINE_BEGIN, TAKE = 13, 8, 4, 6, 3
# Of a command: the pipelines of the LayerNorm unit, the mover and the router (which has three tokens in work).
NORM_TAIL, MOVER_TAIL, ROUTER_TAIL, ROUTER_TOKENS = 39, 11, 3, 2


@dataclass(frozen=True)
class CycleEstimate:
    """A run of a task's program: `array_busy` and `stalls` together are `cycles`."""

    cycles: int
    array_busy: int  #: array steps
    stalls: dict[str, int]  #: cycles without a step by cause, as in the `stall_*` counters
    unit_busy: dict[str, int]  #: cycles in which each unit had an unfinished instruction
    dram_bytes: dict[str, int]  #: by kind
    memory_floor: int  #: cycles the busier of the two ports needs for its bytes
    steps: tuple[Step, ...] = ()  #: of each instruction

    @property
    def floor(self) -> int:
        """What no order of the same instructions can beat."""
        return max(self.array_busy, self.memory_floor)


def estimate(
    compiled: Compiled,
    task: str,
    p: HwParams,
    *,
    latency: int,
    queue_lengths: Sequence[Sequence[int]] | None = None,
    weight_rate: float | None = None,
) -> CycleEstimate:
    """Cycles of one run of `task` (all images of the batch) at a memory latency of `latency` cycles.

    queue_lengths: for each routed layer of the program the rows of each expert's queue; None: `usual_lengths`.
    weight_rate: bytes per cycle that the memory gives for weights, if that is less than a beat.
    """
    walk = _Walk(p, latency, queue_lengths, weight_rate, compiled.output_bytes[task])
    for instr in compiled.instructions[task]:
        walk.step(instr)
    return walk.result()


def usual_lengths(tokens: int, top_k: int, experts: int) -> list[int]:
    """Queues as trained gates fill them: an eighth of the experts goes empty, the loads of the others rise evenly, and
    neither lie side by side."""
    stride = next(step for step in range(max(1, experts // 3), 2 * experts) if gcd(step, experts) == 1)
    loads = np.array([max(0, number * stride % experts - experts // 8 + 0.5) for number in range(experts)])
    ends = np.rint(loads.cumsum() / loads.sum() * tokens * top_k).astype(int)
    return [min(tokens, int(length)) for length in np.diff(ends, prepend=0)]


@dataclass(frozen=True)
class _Context:
    """A query tile's context that was not computed yet."""

    steps: int
    tiles: int
    ready: float  #: when the scores may be read
    chance: float  #: an attention that is there by now has its first scores computed in front of it


class _Walk:
    """The machine while `step` gets one instruction after another; times are cycles since the start."""

    def __init__(
        self, p: HwParams, latency: int, queue_lengths: Sequence[Sequence[int]] | None,
        weight_rate: float | None, output: int,
    ) -> None:  # fmt: skip
        self.output = output  #: bytes; what is stored behind is spilled
        self.p, self.latency, self.given = p, latency, queue_lengths
        timing = engine_timing(p)
        self.score_settle, self.settle = timing.score_settle, timing.settle
        self.stream = WeightStream(p, latency, weight_rate)
        self.ring_base = 0  #: word of the stream the ring's base stands at, in program order

        self.known = [float(START_UP)]  #: when each instruction is in the queue
        self.dispatched: list[float] = []
        self.finish = dict.fromkeys(UNITS, 0.0)  #: of the unit's last instruction
        self.engine_finish: list[float] = []
        self.port_busy: list[tuple[float, float]] = []  #: the reader of gmem1 takes no other command
        self.routed_layers, self.routed = -1, 0
        self.lengths: list[int] = []  #: of the queues, when all ROUTEs so far are done

        self.now = float(START_UP)  #: of the engine: its next step's earliest cycle
        self.last_step = -1000.0
        self.held: _Context | None = None  #: the last of the attention before
        self.share = {"norm": 0.0, "mover": 0.0}  #: of a port's cycles the engine takes from a unit
        self.began = 0.0  #: the engine's last instruction
        self.steps: list[Step] = []
        self.waits: list[tuple[float, float, str]] = []  #: of the dispatch since the engine's last instruction
        self.busy = 0
        self.stalls = dict.fromkeys(CAUSES, 0.0)
        self.unit_busy = dict.fromkeys(UNITS, 0.0)
        kinds = ("weights", "wasted_weights", "program", "parameters", "position", "image", "read_back")
        self.bytes = dict.fromkeys((*kinds, "output", "spilled"), 0)

    def step(self, instr: Instr) -> None:
        f = dict.fromkeys(isa.OPCODES[instr.op][1], 0) | instr.fields
        busy, stalls = self.busy, dict(self.stalls)
        begin, end = self._step(instr.op, f)
        added = {cause: count - stalls[cause] for cause, count in self.stalls.items() if count > stalls[cause]}
        self.steps.append(Step(begin, end, self.busy - busy, added))

    def _step(self, op: Op, f: dict[str, int]) -> tuple[float, float]:
        """When its unit took it up and was done."""
        known = self._fetched()
        start = self._dispatch(op, f, known)
        if op == Op.END:
            self._flush()
            self._idle(start)
            return start, start
        unit, begin = UNIT_OF[op], start + BEGIN
        if unit == "engine":
            end = self._attention(f, start) if op == Op.ATTENTION else self._matmul(f, start, known)
            self.engine_finish.append(end)
            begin = self.began
        else:
            end = start + BEGIN + getattr(self, f"_{op.name.lower()}")(f, start)
        self.unit_busy[unit] += end - max(start, self.finish[unit])
        self.finish[unit] = end
        return begin, end

    def result(self) -> CycleEstimate:
        gmem0 = self.bytes["weights"] + self.bytes["wasted_weights"]
        gmem1 = sum(self.bytes[kind] for kind in ("program", "parameters", "position", "image", "read_back"))
        written = self.bytes["output"] + self.bytes["spilled"]
        cycles = round(self.now) + START_UP
        stalls = {cause: round(count) for cause, count in self.stalls.items()}
        stalls["fetch"] += cycles - self.busy - sum(stalls.values())
        return CycleEstimate(
            cycles, self.busy, stalls, {unit: round(count) for unit, count in self.unit_busy.items()}, dict(self.bytes),
            max(ceil(gmem0 / self.stream.rate), div_up(8 * max(gmem1, written), self.p.data_bus)),
            tuple(self.steps),
        )  # fmt: skip

    # Program order.

    def _fetched(self) -> float:
        """When the next instruction is in the queue, which must have had room for it."""
        number, p = len(self.dispatched), self.p
        ahead = self.known[max(0, number - OUTSTANDING + 1)]
        room = self.dispatched[number - p.instruction_queue] if number >= p.instruction_queue else 0.0
        asked = max(START_UP, room, ahead - self.latency)
        for begin, end in self.port_busy:
            asked = end if begin <= asked < end else asked
        self.known.append(max(self.known[-1] + div_up(8 * isa.BYTES, p.data_bus), asked + self.latency + READ))
        self.bytes["program"] += isa.BYTES
        return self.known[-1]

    def _dispatch(self, op: Op, f: dict[str, int], known: float) -> float:
        """When the instruction leaves the queue; what held it up goes to `waits`."""
        unit = UNIT_OF.get(op, "")
        waits = [(known, "fetch")]
        lag = min(f["engine_lag"], 3 if unit == "engine" else 7) if op != Op.END else 0
        if len(self.engine_finish) > lag:
            waits.append((self.engine_finish[-1 - lag], "pipeline"))
        for other, cause in (("norm", "norm"), ("router", "router"), ("mover", "mover"), ("data", "data")):
            if other == unit or not f.get(f"beside_{other}"):
                waits.append((self.finish[other], cause))
        time = self.dispatched[-1] + DISPATCH if self.dispatched else float(START_UP)
        for until, cause in sorted(waits):
            if until > time:
                self.waits.append((time, until, cause))
                time = until
        self.dispatched.append(time)
        return time

    def _idle(self, until: float) -> None:
        """The engine has nothing to do up to `until`: because the dispatch waited, or instructions take their time."""
        gap = until - self.now
        if gap > 0:
            for begin, end, cause in self.waits:
                overlap = max(0.0, min(end, until) - max(begin, self.now))
                self.stalls[cause] += overlap
                gap -= overlap
            self.stalls["issue"] += gap
            self.now = until
        self.waits.clear()

    # The engine.

    def _begin(self, f: dict[str, int], start: float) -> None:
        """The cycle in which an engine instruction may take its first step."""
        self._idle(start + BEGIN + ENGINE_BEGIN)
        needed = max(0, self.settle - f["slack"])
        results = self.last_step + 1 + needed if needed else 0
        if results > self.now:
            self.stalls["pipeline"] += results - self.now
            self.now = results
        self.began = self.now

    def _tiles(self, steps: int, count: int) -> None:
        """`count` array tiles of `steps` steps; their last steps are at least T cycles apart."""
        for _ in range(count):
            last = max(self.now + steps - 1, self.last_step + self.p.t)
            self.stalls["drain"] += last + 1 - self.now - steps
            self.busy += steps
            self.last_step, self.now = last, last + 1

    def _flush(self) -> None:
        """The context that waits is computed."""
        if self.held:
            ready = max(self.now, self.held.ready)
            self.stalls["pipeline"] += ready - self.now
            self.now = ready
            self._tiles(self.held.steps, self.held.tiles)
            self.held = None

    def _matmul(self, f: dict[str, int], start: float, known: float) -> float:
        p, rows = self.p, self.lengths[f["expert"]] if f["use_queue"] else f["row_end"]
        words, tiles = p.param_words + f["k_steps"], f["tiles"]
        asked = 0.0
        fetched = f["bytes"] > 0
        if fetched:
            fetched = rows > 0 or max(known, self.stream.accepted) < self.finish["router"]
            asked = self.stream.asked(known) if fetched else 0.0
            kind = "weights" if rows else "wasted_weights"
            self.bytes[kind] += f["bytes"] * fetched
        self._flush()
        self._begin(f, start)
        first = self.ring_base + f["ring_offset"]
        for tile in range(tiles if fetched or rows else 0):
            if fetched:
                self.stream.fetch(words, f["bytes"] / tiles, asked)
            self._starve(self.stream.there(first + (tile + 1) * words) + TAKE)
            if rows:
                self._tiles(f["k_steps"], div_up(rows, p.t) - f["row_begin"] // p.t)
            else:
                self._starve(self.now + 3)
            if not f["keep"]:
                self.stream.free(words, self.now)
                self.ring_base += words
        dest, share = f["dest"], p.t / max(f["k_steps"], p.t)
        self.share = {"norm": share * (dest == Dest.X_ADD), "mover": share * (dest == Dest.H)}
        return self.now - 1 + self.settle

    def _starve(self, until: float) -> None:
        if until > self.now:
            self.stalls["weights"] += until - self.now
            self.now = until

    def _attention(self, f: dict[str, int], start: float) -> float:
        p = self.p
        if not (self.held and f["slack"] == NO_WAIT and start + BEGIN <= self.held.chance):
            self._flush()
        self._begin(f, start)
        for _ in range(div_up(f["row_end"], p.t) - f["row_begin"] // p.t):
            self._tiles(f["k_steps"], f["key_tiles"])
            scored, chance = self.last_step + self.score_settle, self.now
            self._flush()
            self.held = _Context(f["pv_steps"], f["tiles"], scored, chance)
        self.share = {"norm": 0.0, "mover": 0.0}
        return max(self.now, scored) + f["pv_steps"] * f["tiles"] + self.settle

    # The other units: cycles a command takes.

    def _norm(self, f: dict[str, int], start: float) -> float:
        return self._beside_engine("norm", start, (f["row_end"] - f["row_begin"] + 1) * f["tiles"]) + NORM_TAIL

    def _beside_engine(self, unit: str, start: float, cycles: float) -> float:
        """`cycles` of a unit's work, longer as far as the engine's instructions before it need the same port."""
        share, overlap = self.share[unit], max(0.0, self.now - start)
        return min(cycles / (1 - share), cycles + share * overlap) if share < 1 else cycles + overlap

    def _route(self, f: dict[str, int], start: float) -> float:
        rows = f["row_end"] - f["row_begin"]
        if not f["append"]:
            self.routed_layers, self.routed = self.routed_layers + 1, 0
        self.routed += rows
        if self.given is None:
            self.lengths = usual_lengths(self.routed, f["k_steps"], f["tiles"])
        else:
            self.lengths = list(self.given[self.routed_layers])
        return (rows + ROUTER_TOKENS) * max(f["tiles"] + 6, f["k_steps"] + 18) + ROUTER_TAIL

    def _gather(self, f: dict[str, int], start: float) -> float:
        rows = self.lengths[f["expert"]]
        return self._beside_engine("mover", start, rows * f["tiles"]) + MOVER_TAIL if rows else 0

    def _mean(self, f: dict[str, int], start: float) -> float:
        return (f["row_end"] - f["row_begin"]) * f["tiles"] + MOVER_TAIL

    def _load(self, f: dict[str, int], start: float) -> float:
        kind = "parameters" if f["dest"] == Dest.NORM else "read_back" if f["spilled"] else "position"
        written = 1 if f["dest"] == Dest.ACTIVATION else 2 * self.p.c  # bytes in a cycle
        return self._read(start, kind, f["bytes"], div_up(f["bytes"], written))

    def _image(self, f: dict[str, int], start: float) -> float:
        """A move ends with the beat, the patch's part of a pixel row, or the C-word."""
        beat, segment = self.p.data_bus // 8, f["k_steps"]
        byte = np.arange(f["bytes"])
        number, place = byte // segment, byte % segment
        line = number // f["tiles"] % f["a_stride"]
        moves = (byte % beat == 0) | (place == 0) | ((line * segment + place) % self.p.c == 0)
        return self._read(start, "image", f["bytes"], int(moves.sum()))

    def _read(self, start: float, kind: str, size: int, moves: int) -> float:
        """A command on gmem1: no other one is taken until its last burst has been asked for."""
        beats = div_up(8 * size, self.p.data_bus)
        self.bytes[kind] += size
        cycles = self.latency + READ + max(beats, moves)
        self.port_busy = [(start, start + max(0, cycles - OUTSTANDING * max_beats(self.p.max_burst, self.p.data_bus)))]
        return cycles

    def _store(self, f: dict[str, int], start: float) -> float:
        self.bytes["spilled" if f["offset"] >= self.output else "output"] += f["bytes"]
        words = (f["row_end"] - f["row_begin"]) * f["tiles"]
        return max(words, div_up(8 * f["bytes"], self.p.data_bus)) + self.latency + READ
