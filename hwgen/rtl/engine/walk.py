"""Walker: where the step decided in the cycle before is in its pass.

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.params import HwParams
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.engine.plan import Pass, pass_layout

__all__ = ["Walker"]


class Walker(wiring.Component):
    """Follows the decisions of `Stepper` (inputs named like its ports), a cycle late: `step`, if there is one.

    `at` is its pass, with the positions (`a_row`, `k_row`, `v_word`, `row_tile`, `word`) moved on to the step; `inner`
    is its number within its tile. `first_tile`: of the pass; `last`: of the tile; `pass_ended`: of the pass;
    `context_step`: a CONTEXT's. `param`: the parameter word `param_index` is read beside its weights. `loaded` pulses
    when a pass is loaded, a cycle before its first step at the latest.
    """

    def __init__(self, p: HwParams, *, settle: int) -> None:
        self.p, self.layout = p, pass_layout(p, settle)
        super().__init__(
            {
                "stepping": In(1),
                "kind": In(Pass),
                "last_step": In(1),
                "tile_ends": In(1),
                "pass_ends": In(1),
                "load": In(1),
                "following": In(self.layout),
                "step": Out(1),
                "context_step": Out(1),
                "last": Out(1),
                "pass_ended": Out(1),
                "loaded": Out(1),
                "first_tile": Out(1),
                "inner": Out(16),
                "at": Out(self.layout),
                "param": Out(1),
                "param_index": Out(select_bits(p.param_words)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        at, inner = self.at, self.inner
        tile_ended, v_tile = Signal(), Signal(16)
        m.d.sync += [
            self.step.eq(self.stepping),
            self.context_step.eq(self.stepping & (self.kind == Pass.CONTEXT)),
            self.last.eq(self.last_step),
            tile_ended.eq(self.tile_ends),
            self.pass_ended.eq(self.pass_ends),
            self.loaded.eq(self.load),
        ]
        m.d.comb += [
            self.param.eq(self.step & (at.kind == Pass.MATMUL) & self.first_tile & (inner < self.p.param_words)),
            self.param_index.eq(self.p.param_words - 1 - inner),
        ]
        with m.If(self.step):
            m.d.sync += [inner.eq(inner + 1), at.v_word.eq(at.v_word + at.v_stride)]
        with m.If(tile_ended):
            m.d.sync += [
                inner.eq(0),
                self.first_tile.eq(0),
                at.a_row.eq(at.a_row + at.a_stride),
                at.k_row.eq(at.k_row + at.k_stride),
                at.v_word.eq(v_tile + 1),
                v_tile.eq(v_tile + 1),
            ]
            with m.If(at.kind == Pass.MATMUL):
                m.d.sync += at.row_tile.eq(at.row_tile + 1)
            with m.Else():
                m.d.sync += at.word.eq(at.word + 1)
        with m.If(self.loaded):
            m.d.sync += [at.eq(self.following), v_tile.eq(self.following.v_word), inner.eq(0), self.first_tile.eq(1)]
        return m
