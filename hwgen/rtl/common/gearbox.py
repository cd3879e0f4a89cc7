"""Stream plumbing: register slice, small queue, width converter."""

from __future__ import annotations

from amaranth import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

__all__ = ["Gearbox", "ShiftQueue", "Skid"]


class Skid(wiring.Component):
    """Register slice: full throughput, no combinational path from one side to the other; `clear` empties it."""

    LATENCY = 1

    def __init__(self, *, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "clear": In(1),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(width),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        data = Signal(self.width, reset_less=True)
        spare = Signal(self.width, reset_less=True)
        spare_valid = Signal()
        m.d.comb += [self.in_ready.eq(~spare_valid), self.out_data.eq(data)]
        with m.If(self.out_ready | ~self.out_valid):
            m.d.sync += [self.out_valid.eq(self.in_valid | spare_valid), spare_valid.eq(0), data.eq(self.in_data)]
            with m.If(spare_valid):
                m.d.sync += data.eq(spare)
        with m.Elif(self.in_valid):
            m.d.sync += spare_valid.eq(1)
        with m.If(~spare_valid):  # whether it is needed or not: that is known late
            m.d.sync += spare.eq(self.in_data)
        with m.If(self.clear):
            m.d.sync += [self.out_valid.eq(0), spare_valid.eq(0)]
        return m


class ShiftQueue(wiring.Component):
    """Queue in an addressable shift register: `head` is the oldest entry while `count` > 0, one cycle after its `push`.

    `some` and `full` are registers: `count` > 0 and = `depth`. `push` when full and `pop` when empty must not happen;
    both may happen in the same cycle otherwise.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__(
            {
                "clear": In(1),
                "push": In(1),
                "data": In(width),
                "pop": In(1),
                "head": Out(width),
                "count": Out(ceil_log2(depth + 1)),
                "some": Out(1),
                "full": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cells = [Signal(self.width, name=f"cell{i}", reset_less=True) for i in range(self.depth)]
        with m.If(self.push):
            m.d.sync += [new.eq(old) for new, old in zip(cells, [self.data, *cells], strict=False)]
        with m.If(self.push & ~self.pop):
            m.d.sync += [self.count.eq(self.count + 1), self.some.eq(1), self.full.eq(self.count == self.depth - 1)]
        with m.Elif(self.pop & ~self.push):
            m.d.sync += [self.count.eq(self.count - 1), self.some.eq(self.count != 1), self.full.eq(0)]
        with m.If(self.clear):
            m.d.sync += [self.count.eq(0), self.some.eq(0), self.full.eq(0)]
        oldest = Signal(max(1, ceil_log2(self.depth)))
        m.d.comb += [oldest.eq(self.count - 1), self.head.eq(Array(cells)[oldest])]
        return m


class Gearbox(wiring.Component):
    """Width converter between powers of two, little end first, full throughput on the narrower side.

    Narrowing (`down` parts of an input word): parts 0..`in_count` of an input word are put out, the rest is dropped;
    `out_last` marks the last of them when `in_last` was set.
    Widening (`up` parts of an output word): `in_last` ends the output word early; parts 0..`out_count` are then valid,
    the others hold old bits. `clear` empties it. A count is one bit, to be left 0, when there is but one part.
    """

    def __init__(self, *, in_bits: int, out_bits: int) -> None:
        self.in_bits, self.out_bits = in_bits, out_bits
        self.down = max(1, in_bits // out_bits)
        self.up = max(1, out_bits // in_bits)
        exact_log2(self.down * self.up)
        if in_bits * self.up != out_bits * self.down:
            raise ValueError(f"gearbox widths must divide each other, not {in_bits} and {out_bits}")
        super().__init__(
            {
                "clear": In(1),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(in_bits),
                "in_last": In(1),
                "in_count": In(max(1, exact_log2(self.down))),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(out_bits),
                "out_last": Out(1),
                "out_count": Out(max(1, exact_log2(self.up))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        data = Signal(max(self.in_bits, self.out_bits), reset_less=True)
        last = Signal(reset_less=True)
        left = Signal(self.in_count.shape(), reset_less=True)  # parts still to come after this one
        part = Signal(self.out_count.shape())
        accept = Signal()
        m.d.comb += [
            self.in_ready.eq(~self.out_valid | (self.out_ready & (left == 0))),
            accept.eq(self.in_valid & self.in_ready),
            self.out_data.eq(data[: self.out_bits]),
            self.out_last.eq(last & (left == 0)),
        ]
        with m.If(accept):
            if self.up == 1:
                m.d.sync += data.eq(self.in_data)
            else:
                m.d.sync += data.word_select(part, self.in_bits).eq(self.in_data)
            whole = self.in_last | (part == self.up - 1)
            m.d.sync += [
                left.eq(self.in_count),
                last.eq(self.in_last),
                self.out_count.eq(part),
                self.out_valid.eq(whole),
                part.eq(part + 1),
            ]
            with m.If(whole):
                m.d.sync += part.eq(0)
        with m.Elif(self.out_valid & self.out_ready):
            if self.down > 1:
                m.d.sync += data.eq(data[self.out_bits :])
            m.d.sync += [self.out_valid.eq(left != 0), left.eq(left - 1)]
        with m.If(self.clear):
            m.d.sync += [self.out_valid.eq(0), part.eq(0)]
        return m
