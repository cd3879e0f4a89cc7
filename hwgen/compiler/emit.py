"""A program under way: instructions get their ORDER fields; probes are dropped when their tensor may be overwritten.

Tested by tests/compiler/test_order.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwgen.compiler.areas import Access, Area, Span
from hwgen.compiler.order import Order, Work
from hwgen.compiler.probes import Probe
from hwgen.compiler.units import Draft
from hwgen.machine import isa
from hwgen.machine.isa import Op
from hwgen.machine.params import HwParams

__all__ = ["Emitter", "Instr"]


@dataclass(frozen=True)
class Instr:
    """One instruction: field values as in `hwgen.machine.isa`, and the tensor it computes."""

    op: Op
    fields: dict[str, int]
    name: str

    def encode(self) -> bytes:
        return isa.encode(self.op, **self.fields)


class Emitter:
    """Collects a task's instructions and probes in program order."""

    def __init__(self, p: HwParams) -> None:
        self.p = p
        self.instructions: list[Instr] = []
        self._order = Order(p.t)
        self._last = Work(unit="data")
        self._safe: list[Probe] = []
        self._open: list[tuple[Probe, Work, Access]] = []  #: of instructions that may be under way

    @property
    def probes(self) -> tuple[Probe, ...]:
        """In program order."""
        return tuple(sorted([*self._safe, *(probe for probe, *_ in self._open)], key=lambda probe: probe.instruction))

    def emit(self, draft: Draft) -> None:
        fields = draft.fields | self._order.place(draft.work)
        self.instructions.append(Instr(draft.op, fields, draft.name))
        self._last = draft.work
        entries, self._open = self._open, []
        for probe, probed, access in entries:
            if not self._order.running(probed):
                self._safe.append(probe)
            elif not self._spoils(draft.work, probed, access, probe.expert):
                self._open.append((probe, probed, access))

    def end(self) -> None:
        self.instructions.append(Instr(Op.END, {}, "end"))

    def probe(
        self, tensor: str, area: Area, rows: Span | None, channels: Sequence[int], *, tensor_row: int | None = None,
        column: int = 0, expert: int | None = None, head: int | None = None, tokens: Span | None = None,
        access: Access | None = None,
    ) -> None:
        """`tensor` is in `area` when the last instruction retires, by default at its own row numbers; without `rows`,
        it is the expert's queue, or the area's first rows are those of the queue, in which there are `tokens` alone.
        `access`: what may overwrite it."""
        begin, end = rows or (0, None)
        probe = Probe(
            instruction=len(self.instructions) - 1, tensor=tensor, buffer=area.buffer, base=area.base,
            stride=area.stride, row_begin=begin, row_end=end, tensor_row=begin if tensor_row is None else tensor_row,
            column=column, channels=channels, expert=expert, head=head, tokens=tokens,
        )  # fmt: skip
        words = (min(channels) // self.p.c, max(channels) // self.p.c + 1) if channels else (0, 1)
        access = access or Access(area, rows or (0, self.p.max_tokens), words)
        self._open.append((probe, self._last, access))

    def _spoils(self, work: Work, probed: Work, access: Access, expert: int | None) -> bool:
        """The new instruction may overwrite the tensor before the probed one retires."""
        return any(
            write.overlaps(access) and not self._order.retires_before(probed, work, write, access, expert)
            for write in work.writes
        )
