"""The ORDER fields of a program: derived, instruction by instruction, from what each reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hwgen.compiler.areas import Access
from hwgen.machine.isa import NO_WAIT, UNITS

__all__ = ["ENGINE_QUEUE", "Order", "Work"]

#: Unfinished instructions the engine takes.
ENGINE_QUEUE = 4
#: `engine_lag` of an instruction that waits for none of them.
ANY_LAG = 7
#: The least a step's results take to their buffer, beside the T cycles of a tile's rows (hardware: 39).
SETTLE = 32
#: ... and by how much an instruction may retire later than its successor writes, beside the T cycles (hardware: 8).
RETIRE = 16


@dataclass(kw_only=True, eq=False)
class Work:
    """An instruction as its order sees it.

    steps: array steps it takes at least (the engine's; with `expert`: unless that expert's queue is empty)
    turns: ATTENTION: steps of a query tile's scores and of its context
    ports: what the hardware does not share between units although the words differ
    alone: nothing may be under way
    gap:   cycles from the engine's last step before it to its first, at least; known once it is placed
    early: how many steps its first may come before the last one of the instruction before: of two attentions, the first
           scores of the second come before the last context of the first; known once it is placed
    """

    unit: str
    reads: tuple[Access, ...] = ()
    writes: tuple[Access, ...] = ()
    ports: frozenset[str] = frozenset()
    alone: bool = False
    steps: int = 0
    turns: tuple[int, int] | None = None
    expert: int | None = None
    gap: int = field(default=0, init=False)
    early: int = field(default=0, init=False)

    def conflicts(self, other: Work) -> bool:
        """They may not run at the same time (on different units)."""
        if self.alone or other.alone or self.ports & other.ports:
            return True
        return any(write.overlaps(access) for write in self.writes for access in other.reads + other.writes) or any(
            read.overlaps(write) for read in self.reads for write in other.writes
        )


class Order:
    """The machine's state in program order: what may still be under way when the next instruction is dispatched."""

    def __init__(self, t: int) -> None:
        self.settle, self.retire = SETTLE + t, RETIRE + t
        self.engine: list[Work] = []  #: unfinished at most, in order
        self.others: dict[str, Work | None] = dict.fromkeys(list(UNITS)[1:])

    def place(self, work: Work) -> dict[str, int]:
        """The fields of the next instruction; after this, it and what it does not wait for may be under way."""
        fields = {"engine_lag": ANY_LAG}
        if work.unit == "engine":
            self.engine = self.engine[1 - ENGINE_QUEUE :]
            before = self.engine[-1] if self.engine else None
            if work.turns and before and before.turns:
                work.early = work.turns[0] + before.turns[1]
            slack = min(self._distances(work), default=NO_WAIT)
            if work.early and slack < NO_WAIT:  # they must not overlap, then
                work.early = 0
                slack = min(*self._distances(work), NO_WAIT - 1)
            fields["slack"] = min(slack, NO_WAIT)
            work.gap = max(0, self.settle - slack)
        else:
            self.others[work.unit] = None
            for lag, earlier in enumerate(reversed(self.engine)):
                if work.conflicts(earlier):
                    fields["engine_lag"] = lag
                    self.engine = self.engine[len(self.engine) - lag :]
                    break
        for unit, running in self.others.items():
            if running is not None and work.conflicts(running):
                self.others[unit] = None
            elif unit != work.unit:
                fields[f"beside_{unit}"] = 1
        if work.unit == "engine":
            self.engine.append(work)
        else:
            self.others[work.unit] = work
        return fields

    def running(self, work: Work) -> bool:
        """It may be under way."""
        return work in self.engine or work is self.others.get(work.unit)

    def _distances(self, work: Work) -> Iterator[int]:
        """Per result of the engine that `work` reads: steps from its last step to the read if none were idle."""
        between = -work.early
        for earlier in reversed(self.engine):
            for write in earlier.writes:
                for read in work.reads:
                    if read.overlaps(write):
                        yield between + write.distance(read)
            between += earlier.steps - earlier.early if earlier.expert is None else 0

    def retires_before(self, early: Work, late: Work, write: Access, access: Access, expert: int | None) -> bool:
        """`early` has retired when `late`'s `write` comes to `access`. `expert`: one whose queue is not empty."""
        if not early.unit == late.unit == "engine":
            return False
        cycles = late.gap + late.steps - late.early - write.latest(access)  # to the step that ends the tile, from ...
        for work in self.engine[self.engine.index(early) + 1 : -1]:  # ... the last step of `early`
            cycles += work.gap + work.steps - work.early if work.expert in (None, expert) else 0
        return cycles >= self.retire
