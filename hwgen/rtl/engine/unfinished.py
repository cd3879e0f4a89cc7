"""The instructions that the engine has, and those whose results are not all written.

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import delayed

__all__ = ["Unfinished"]


class Unfinished(wiring.Component):
    """An instruction is `present` from its `start` until its last step (`ended`), or until it is skipped (`skip_end`,
    with `skip_number`), and counts as `unfinished` until `done` (with `done_number`), `settle` cycles later.

    `number` is that of a step, a cycle after it.
    """

    def __init__(self, *, settle: int) -> None:
        self.settle = settle
        super().__init__(
            {
                "start": In(1),
                "ended": In(1),
                "number": In(16),
                "skip_end": In(1),
                "skip_number": In(16),
                "present": Out(1),
                "unfinished": Out(range(CONTEXTS + 1)),
                "done": Out(1),
                "done_number": Out(16),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, ended, number = Signal(range(CONTEXTS + 1)), Signal(), Signal(16)
        m.d.comb += [ended.eq(self.ended | self.skip_end), self.present.eq(count.any())]
        m.d.sync += [
            count.eq(count + self.start - ended),
            self.unfinished.eq(self.unfinished + self.start - self.done),
        ]
        skipped = delayed(m, self.skip_end, 1, reset=True)
        m.d.comb += [
            number.eq(Mux(skipped, delayed(m, self.skip_number, 1), self.number)),
            self.done.eq(delayed(m, ended, self.settle, reset=True)),
            self.done_number.eq(delayed(m, number, self.settle - 1)),
        ]
        return m
