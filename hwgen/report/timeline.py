"""A run's timeline: instructions on their units, what each cycle went to, what went over the memory's ports.

It is made from a simulation (`sim.timeline`) or from the cycle model (`hwgen.report.estimated`), kept in the JSON of
`hwgen sim --timeline`, and read from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict
from hwgen.estimate.cycles import CAUSES

__all__ = ["BUSY", "PORTS", "Causes", "Instructions", "Share", "Timeline", "Transfers", "check"]

#: What a cycle went to in which the array took a step; the others are `CAUSES`.
BUSY = "busy"
#: Lanes of transfers, by what goes over them: weights in, program, tables and images in, outputs out.
PORTS = ("weights", "data in", "data out")


class Instructions(Strict):
    """In program order. `begin` and `end` in cycles since the start; None of an instruction that was skipped."""

    name: list[str]
    op: list[str]
    unit: list[str]
    begin: list[int | None]
    end: list[int | None]


class Causes(Strict):
    """What the cycles begin .. end - 1 went to, one behind the other; from a simulation without a gap."""

    cause: list[str]
    begin: list[int]
    end: list[int]


class Transfers(Strict):
    """Bytes over a port, those of an instruction together as long as no pause is in between. From a simulation only.

    asked: cycle of the first address; begin, end: first beat, behind the last. `instruction` None: the program itself.
    """

    port: list[str]
    kind: list[str]
    instruction: list[int | None]
    asked: list[int]
    begin: list[int]
    end: list[int]
    bytes: list[int]


class Timeline(Strict):
    """One run of a task's program, of `batch` images; all times in clock cycles."""

    source: Literal["simulation", "estimate"]
    model: str
    task: str
    batch: int
    cycles: int
    instructions: Instructions
    causes: Causes
    transfers: Transfers

    def engine(self) -> list[int]:
        """Numbers of the instructions that ran on the array, as they began."""
        found = self.instructions
        ran = [number for number, unit in enumerate(found.unit) if unit == "engine" and found.begin[number] is not None]
        return sorted(ran, key=lambda number: found.begin[number] or 0)

    def shares(self) -> list[Share]:
        """The run's cycles shared out to the array's instructions, in the order in which they ran.

        A cycle with a step is of the instruction that began last; one without, behind an instruction's last step, is of
        the next one, which it kept waiting. What comes behind the last step of all, the last share, is of none.
        """
        ran = self.engine()
        if not ran:
            return []
        shares = [*(Share(number) for number in ran), Share(None)]
        begins = [self.instructions.begin[number] or 0 for number in ran]
        pieces = list(_cut(self.causes, begins))
        last_busy = [-1] * len(ran)
        for cause, begin, end in pieces:
            if cause == BUSY:
                at = _owner(begins, begin)
                last_busy[at] = max(last_busy[at], end)
        for cause, begin, end in pieces:
            at = _owner(begins, begin)
            # Behind the last step of its instruction, if there is another one.
            behind = cause != BUSY and begin >= max(last_busy[at], begins[at]) and begin >= begins[0]
            shares[at + behind].add(cause, end - begin)
        return shares


@dataclass
class Share:
    """Cycles of an instruction of the array, or of none: with and without steps."""

    instruction: int | None
    busy: int = 0
    stalls: dict[str, int] = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        return self.busy + sum(self.stalls.values())

    def add(self, cause: str, cycles: int) -> None:
        if cause == BUSY:
            self.busy += cycles
        else:
            self.stalls[cause] = self.stalls.get(cause, 0) + cycles


def check(found: Timeline, where: str) -> Timeline:
    """Raises HwgenError if columns are of different lengths, or hold what no timeline does."""
    columns: dict[str, Strict] = {"instructions": found.instructions, "causes": found.causes}
    columns["transfers"] = found.transfers
    for table, values in columns.items():
        lengths = {name: len(getattr(values, name)) for name in type(values).model_fields}
        if len(set(lengths.values())) > 1:
            raise HwgenError(where, table, expected="columns of one length",
                             found=", ".join(f"{name} {count}" for name, count in lengths.items()),
                             mend="write it again with `hwgen sim --timeline`")  # fmt: skip
    unknown = set(found.causes.cause) - {BUSY, *CAUSES}
    if unknown:
        raise HwgenError(where, "causes", expected=f"{BUSY}, {', '.join(CAUSES)}", found=", ".join(sorted(unknown)))
    return found


def _owner(begins: list[int], cycle: int) -> int:
    """The instruction that began last, of those that begin at these cycles; the first before it."""
    return max(int(np.searchsorted(begins, cycle, side="right")) - 1, 0)


def _cut(causes: Causes, begins: list[int]) -> Iterator[tuple[str, int, int]]:
    """The causes' intervals, cut where an instruction begins."""
    for cause, begin, end in zip(causes.cause, causes.begin, causes.end, strict=True):
        first, last = np.searchsorted(begins, [begin, end], side="right")
        inner = [at for at in begins[int(first) : int(last)] if begin < at < end]
        for left, right in pairwise([begin, *inner, end]):
            yield cause, left, right
