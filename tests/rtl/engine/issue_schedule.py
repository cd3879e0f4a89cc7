"""When the issuer must do what it must do: follows the docstrings of `Planner` and `Issuer`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwgen.machine.isa import Op
from tests.rtl.engine.issue_model import CONTEXT, SCORE, Instruction, Pass, Program

__all__ = ["Schedule", "Timed"]


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
