"""Kept weights: how many words of the ring stay for later MATMULs, in program order.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import Op
from hwgen.machine.params import HwParams
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields
from hwgen.rtl.control.check import OperandCheck

__all__ = ["KeptWeights"]


class KeptWeights(wiring.Component):
    """`missing`: `instruction` is a MATMUL whose words would not lie where it looks for them. New ones come behind all
    that is kept, so that is their `ring_offset`; kept ones end within it. As late as `OperandCheck`, whose `words` it
    takes, and of legal instructions only.

    `take` (pulse): the instruction is dispatched, and keeps or pops its words; `begin` (pulse): nothing is kept.
    """

    def __init__(self, p: HwParams) -> None:
        self.level = ceil_log2(p.weight_depth + 1)
        super().__init__(
            {
                "instruction": In(INSTRUCTION_BITS),
                "words": In(OperandCheck.WORDS_BITS),
                "begin": In(1),
                "take": In(1),
                "missing": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        f = Fields(self.instruction)
        kept, behind = Signal(self.level), Signal(self.level, reset_less=True)
        matmul, new = Signal(reset_less=True), Signal(reset_less=True)
        elsewhere, short = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            matmul.eq(f.op == Op.MATMUL),
            new.eq(f.bytes != 0),
            behind.eq(kept - f.ring_offset),  # kept words from there on, unless it is `beyond` them
            elsewhere.eq(f.ring_offset != kept),
            short.eq((f.ring_offset > kept) | (self.words > behind)),
            self.missing.eq(matmul & Mux(new, elsewhere, short)),
        ]
        with m.If(self.take & matmul & (new == f.keep)):
            m.d.sync += kept.eq(kept + Mux(f.keep, self.words, -self.words))
        with m.If(self.begin):
            m.d.sync += kept.eq(0)
        return m
