"""Hazard timers: what must not come too early. All latencies behind the issue are fixed, so hazards are counted.

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.plan import Pass, pass_layout

__all__ = ["HazardTimers"]


class HazardTimers(wiring.Component):
    """Three timers, set by the decisions of `Stepper`, whose ports of these names it listens to.

    `crowded`: the last tile ended less than T cycles ago, so that the array's rows are not drained. `there`: what the
    pass `following` reads has been written when it is loaded in the next cycle; a CONTEXT waits for the scores in its
    half, another pass until its first step comes `wait` cycles after the last one, unless it is `free`.
    """

    def __init__(self, p: HwParams, *, score_settle: int, settle: int) -> None:
        self.p, self.score_settle, self.settle = p, score_settle, settle
        super().__init__(
            {
                "stepping": In(1),
                "tile_ends": In(1),
                "pass_ends": In(1),
                "load": In(1),
                "active": In(1),
                "kind": In(Pass),
                "half": In(1),
                "following": In(pass_layout(p, settle)),
                "crowded": Out(1),
                "there": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, following = self.p, self.following
        gap = Signal(range(p.t))
        with m.If(self.tile_ends):
            m.d.sync += [gap.eq(p.t - 1), self.crowded.eq(1)]
        with m.Elif(self.crowded):
            m.d.sync += [gap.eq(gap - 1), self.crowded.eq(gap != 1)]

        scored = Signal(2)  # the halves' scores are there
        for number in range(2):
            wait = Signal(range(self.score_settle), name=f"score_wait{number}")
            with m.If(wait != 0):
                m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 1):
                m.d.sync += scored[number].eq(1)
            with m.If(self.pass_ends & (self.kind == Pass.SCORE) & (self.half == number)):
                m.d.sync += wait.eq(self.score_settle - 3)  # until the pass that reads them may be loaded: two more
            with m.If(self.load & (following.kind == Pass.SCORE) & (following.half == number)):
                m.d.sync += scored[number].eq(0)

        since = Signal(bits_for(self.settle), init=self.settle)  # cycles since the last step
        with m.If(self.stepping):
            m.d.sync += since.eq(0)
        with m.Elif(since != self.settle):
            m.d.sync += since.eq(since + 1)

        m.d.comb += self.there.eq(following.free | (~self.active & (since + 2 >= following.wait)))
        with m.If(following.kind == Pass.CONTEXT):
            m.d.comb += self.there.eq(scored.bit_select(following.half, 1))
        return m
