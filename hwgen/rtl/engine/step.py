"""Stepper: is there a step in this cycle, and does the next pass begin behind it?

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.plan import Pass, pass_layout

__all__ = ["Stepper"]


class Stepper(wiring.Component):
    """Takes passes (`pass_*`, a stream) and counts their steps and tiles. The decision must be short: loop ends are
    flags, one register ahead of the counts, and nothing but counts is changed here.

    There is a step (`stepping`) in every cycle of an `active` pass, except that a tile does not end while `crowded`.
    `last_step`: the step due ends its tile. `tile_ends` and `pass_ends` come with a step that does, `ended` with the
    last one of an instruction. `kind` and `half` are the active pass's.

    One pass waits (`waiting`): `following`, which stays as it is for a cycle after its `load`. It is loaded with the
    last step of the one before, if `there` (what it reads is written) was high the cycle before: `may_load`.
    """

    def __init__(self, p: HwParams, *, settle: int) -> None:
        layout = pass_layout(p, settle)
        super().__init__(
            {
                "pass_valid": In(1),
                "pass_ready": Out(1),
                "pass_data": In(layout),
                "crowded": In(1),
                "there": In(1),
                "waiting": Out(1),
                "following": Out(layout),
                "may_load": Out(1),
                "load": Out(1),
                "active": Out(1),
                "kind": Out(Pass),
                "half": Out(1),
                "stepping": Out(1),
                "last_step": Out(1),
                "tile_ends": Out(1),
                "pass_ends": Out(1),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        following, waiting, active, last_step = self.following, self.waiting, self.active, self.last_step
        m.d.comb += self.pass_ready.eq(~waiting)
        with m.If(~waiting):
            m.d.sync += [following.eq(self.pass_data), waiting.eq(self.pass_valid)]

        ends = Signal()  # the instruction, with this pass
        steps, single = Signal(16), Signal()
        steps_left, tiles_left = Signal(16), Signal(16)
        last_tile, last = Signal(), Signal()  # `last`: tile and step
        m.d.comb += [
            self.stepping.eq(active & ~(last_step & self.crowded)),
            self.tile_ends.eq(self.stepping & last_step),
            self.pass_ends.eq(active & last & ~self.crowded),
            self.load.eq(self.may_load & (~active | self.pass_ends)),
            self.ended.eq(self.pass_ends & ends),
        ]
        m.d.sync += self.may_load.eq(waiting & ~self.load & self.there)
        with m.If(self.stepping):
            m.d.sync += [
                steps_left.eq(steps_left - 1),
                last_step.eq(steps_left == 1),
                last.eq((steps_left == 1) & last_tile),
            ]
        with m.If(self.tile_ends):
            m.d.sync += [
                steps_left.eq(steps - 1),
                last_step.eq(single),
                last.eq(single & (tiles_left == 1)),
                tiles_left.eq(tiles_left - 1),
                last_tile.eq(tiles_left == 1),
            ]
        with m.If(self.pass_ends):
            m.d.sync += active.eq(0)
        with m.If(self.load):
            m.d.sync += [
                waiting.eq(0),
                active.eq(1),
                self.kind.eq(following.kind),
                self.half.eq(following.half),
                ends.eq(following.ends),
                steps.eq(following.steps),
                single.eq(following.steps == 1),
                steps_left.eq(following.steps - 1),
                last_step.eq(following.steps == 1),
                last.eq((following.steps == 1) & (following.tiles == 1)),
                tiles_left.eq(following.tiles - 1),
                last_tile.eq(following.tiles == 1),
            ]
        return m
