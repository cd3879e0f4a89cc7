"""The loops of the instruction that is planned: how far it is, and where that is in the buffers.

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.engine.queue import PLANNED

__all__ = ["Loops"]


class Loops(wiring.Component):
    """While `begin` is high the loops are set to the beginning of the instruction `fields`; after that `next_tile`
    (pulse) goes on to MATMUL's next output tile, of `tile_words` words, `next_query` to ATTENTION's next query tile.

    `at` changes in the cycle after; its `last_*` one later still, which is in time: between two passes of an
    instruction the offer is empty for a cycle at least.
    """

    def __init__(self, p: HwParams, *, settle: int) -> None:
        self.p, self.settle = p, settle
        self.level = level = ceil_log2(p.weight_depth + 1)
        position = data.StructLayout(
            {
                "empty": 1,  # it has no rows
                "free": 1,  # its first step need not wait for the one before; else it comes ...
                "needed": bits_for(settle),  # ... so many cycles later
                "first": 1,  # no pass was planned yet
                "tile_first": p.row_bits,  # its row tiles
                "tile_count": p.row_bits,
                "out_tile": 16,
                "last_tile": 1,
                "ring": level,  # words of the output tile, behind the base of the ring
                "query": p.row_bits,
                "last_query": 1,
                "query_row": 16,  # word address of the query tile
                "half": 1,  # of the score buffer; they take turns, instructions do not matter
                "key_begin": select_bits(p.word),  # keys from here ...
                "keys": 16,  # ... to before here count
            }
        )
        super().__init__(
            {
                "fields": In(PLANNED),
                "tile_words": In(level),
                "begin": In(1),
                "next_tile": In(1),
                "next_query": In(1),
                "at": Out(position),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f, at, settle = self.p, self.fields, self.at, self.settle
        log_t, log_w = ceil_log2(p.t), ceil_log2(p.word)
        m.d.sync += [at.last_tile.eq(at.out_tile + 1 == f.tiles), at.last_query.eq(at.query + 1 == at.tile_count)]
        with m.If(self.next_tile):
            m.d.sync += [at.first.eq(0), at.out_tile.eq(at.out_tile + 1)]
            with m.If(f.keep):
                m.d.sync += at.ring.eq(at.ring + self.tile_words)
        with m.If(self.next_query):
            m.d.sync += [
                at.first.eq(0),
                at.query.eq(at.query + 1),
                at.query_row.eq(at.query_row + f.a_stride),
                at.half.eq(~at.half),
            ]
        with m.If(self.begin):
            m.d.sync += [
                at.empty.eq(f.rows == 0),
                at.free.eq(f.slack >= settle),
                at.needed.eq(settle - f.slack),
                at.first.eq(1),
                at.tile_first.eq(f.row_begin >> log_t),
                at.tile_count.eq(((f.rows + (p.t - 1)) >> log_t) - (f.row_begin >> log_t)),
                at.out_tile.eq(0),
                at.ring.eq(f.ring_offset),
                at.query.eq(0),
                at.query_row.eq(f.a_base),
                at.key_begin.eq(f.row_begin[:log_w]),
                at.keys.eq(f.rows - (f.row_begin >> log_w << log_w)),
            ]
        return m
