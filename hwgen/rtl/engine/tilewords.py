"""The weight ring as the planner sees it: are the words of the next output tile there?

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.queue import PLANNED

__all__ = ["TileWords"]


class TileWords(wiring.Component):
    """Counts the words that came (`ring_written`, one each) and were taken, a tile with each `take` (pulse).

    Tiles are first read in the order in which they came, so `there` is a matter of their number: all words of the next
    tile of the instruction `fields` are in the ring. It is low for two cycles after a `take`. `tile_words` are a tile's
    words in the ring, `tile_halves` what they take in DRAM, in halves of a word; both a cycle late.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        self.level = level = ceil_log2(p.weight_depth + 1)
        super().__init__(
            {
                "fields": In(PLANNED),
                "ring_written": In(1),
                "take": In(1),
                "there": Out(1),
                "tile_words": Out(level),
                "tile_halves": Out(level + 1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, self.fields
        unread, taken = Signal(self.level), Signal()
        odd = f.k_steps[0] if p.piece_bytes == p.ring_bytes else 0  # packed by pairs of words: half a pair
        m.d.sync += [
            self.tile_words.eq(p.param_words + f.k_steps),
            self.tile_halves.eq(2 * p.param_words + Mux(f.narrow, f.k_steps + odd, 2 * f.k_steps)),
            taken.eq(self.take),  # that late because the decision is
            unread.eq(unread + self.ring_written - Mux(taken, self.tile_words, 0)),
            self.there.eq((unread >= self.tile_words) & ~self.take & ~taken),
        ]
        return m
