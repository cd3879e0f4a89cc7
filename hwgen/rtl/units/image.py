"""Patches: a raster of uint8 pixels from the input region → one row of Y per patch."""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.gearbox import Skid
from hwgen.rtl.common.ram import select_bits

__all__ = ["ImageLoader"]


class ImageLoader(wiring.Component):
    """IMAGE: `bytes` bytes in the order [pixel row][column][channel], from `beats`, to rows row_begin, ... of Y.

    `segment` neighbouring bytes belong to one patch, `patches` segments make a pixel row, `patch_height` pixel rows a
    row of patches; none of them may be 0. `start` is a pulse with all command inputs valid; they stay stable until
    `done`. As many bytes are moved per cycle as the beat, the segment and the C-word still have, without bubbles
    between them. What the last beat holds beyond `bytes` is discarded; no further beat is taken.
    Bytes of a Y word that no patch byte falls on are not written.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        super().__init__(
            {
                "start": In(1),
                "bytes": In(32),
                "segment": In(16),
                "patches": In(16),
                "patch_height": In(16),
                "row_begin": In(16),
                "d_base": In(16),
                "d_stride": In(16),
                "busy": Out(1),
                "done": Out(1),
                "beats": In(stream.Signature(unsigned(p.data_bus))),
                "y_en": Out(1),
                "y_bank": Out(ceil_log2(p.t)),
                "y_addr": Out(ceil_log2(max(p.y_depth, 2))),
                "y_sub": Out(select_bits(p.word // p.c)),
                "y_mask": Out(p.c),
                "y_data": Out(8 * p.c),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        size = p.data_bus // 8
        row_log, lane_log, part_log = ceil_log2(p.t), ceil_log2(p.c), ceil_log2(p.word // p.c)
        size_log = ceil_log2(size)
        bits = self.y_addr.shape().width

        active, setup = Signal(), Signal()
        whole = Signal(32 - size_log, reset_less=True)  # full beats behind this one
        rest = Signal(size_log, reset_less=True)  # bytes behind all full ones
        last_beat = Signal(reset_less=True)
        position = Signal(size_log, reset_less=True)  # in the beat
        left = Signal(size_log + 1, reset_less=True)  # of the beat
        in_segment = Signal(16, reset_less=True)
        # Segments of the line and lines of the patch, this one too; whether it is the last, in registers, too.
        in_line, in_patch = Signal(16, reset_less=True), Signal(16, reset_less=True)
        line_ends, last_line, patch_ends = (Signal(reset_less=True, name=n) for n in ("line_ends", "last_line", "ends"))
        offset_bits = ceil_log2(p.y_depth * p.word + 1)
        offset = Signal(offset_bits, reset_less=True)  # in the patch vector
        line_offset = Signal(offset_bits, reset_less=True)  # of the first byte of this pixel row
        # the row being written, and the first one of this row of patches, to which every pixel row but the last returns
        row, home_row = Signal(row_log, reset_less=True), Signal(row_log, reset_less=True)
        group, home_group = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        skipped = Signal(bits, reset_less=True)

        lane, room = Signal(lane_log), Signal(lane_log + 1)
        # Registers: they are known with the numbers from which they follow. Before the first piece, all ends.
        beat_ends, segment_ends = Signal(reset_less=True), Signal(reset_less=True)
        full = Signal(reset_less=True)  # `whole` is not 0
        # What to move is chosen by the counts alone, a cycle before its beat must be there.
        choose, move = Signal(), Signal()
        m.d.comb += [lane.eq(offset), room.eq(_room(lane, p.c))]

        short_line, low_patch = Signal(), Signal()  # lines of one segment, patches of one line
        m.d.sync += [short_line.eq(self.patches == 1), low_patch.eq(self.patch_height == 1)]
        following_group = Signal(bits)
        following_offset = Signal(offset_bits)
        m.d.comb += [
            following_group.eq(group + Mux(row.all(), self.d_stride, 0)),
            following_offset.eq(line_offset + self.segment),
        ]
        next_left, next_offset, next_segment = (Signal.like(signal) for signal in (left, offset, in_segment))
        next_lane = next_offset[:lane_log]
        next_room = _room(next_lane, p.c)
        # `left` and `room` have few bits: what a segment has beyond them is looked at beside the comparisons.
        few = max(len(left), len(room))
        near, long = next_segment[:few], next_segment[few:].any()
        m.d.comb += [
            # All sums are there before the choice is. `room` is p.c - lane; written with it, Yosys would choose the
            # operand of one sum.
            next_left.eq(Mux(segment_ends, left - in_segment[: len(left)], left - room)),
            next_offset.eq(Mux(beat_ends, offset + left, Cat(Const(0, lane_log), offset[lane_log:] + 1))),
            next_segment.eq(Mux(beat_ends, in_segment - left, in_segment + Cat(lane, Const(-1, 16 - lane_log)))),
        ]
        with m.If(beat_ends):
            m.d.comb += next_left.eq(Mux(full, size, rest))
        with m.If(segment_ends):
            m.d.comb += [next_segment.eq(self.segment), next_offset.eq(line_offset)]
            with m.If(line_ends):
                m.d.comb += next_offset.eq(following_offset)
            with m.If(patch_ends):
                m.d.comb += next_offset.eq(0)
        with m.If(setup | choose):
            m.d.sync += [
                left.eq(next_left),
                offset.eq(next_offset),
                in_segment.eq(next_segment),
                position.eq(Mux(segment_ends, position + in_segment, position + room)),
                beat_ends.eq((next_left <= next_room) & (long | (next_left <= near))),
                segment_ends.eq(~long & (near <= next_left) & (near <= next_room)),
            ]
            with m.If(beat_ends):
                more = whole[1:].any()  # than one
                m.d.sync += [
                    position.eq(0),
                    whole.eq(whole - 1),
                    full.eq(more),
                    last_beat.eq(~full | ~(more | rest.any())),
                ]
            with m.If(segment_ends):
                m.d.sync += [
                    row.eq(row + 1),
                    group.eq(following_group),
                    in_line.eq(in_line - 1),
                    line_ends.eq(in_line == 2),
                    patch_ends.eq((in_line == 2) & last_line),
                ]
                with m.If(line_ends):
                    m.d.sync += [
                        in_line.eq(self.patches),
                        line_ends.eq(short_line),
                        in_patch.eq(in_patch - 1),
                        last_line.eq(in_patch == 2),
                        patch_ends.eq(short_line & (in_patch == 2)),
                        line_offset.eq(following_offset),
                        row.eq(home_row),
                        group.eq(home_group),
                    ]
                with m.If(patch_ends):
                    m.d.sync += [
                        in_patch.eq(self.patch_height),
                        last_line.eq(low_patch),
                        patch_ends.eq(short_line & low_patch),
                        line_offset.eq(0),
                        row.eq(row + 1),
                        group.eq(following_group),
                        home_row.eq(row + 1),
                        home_group.eq(following_group),
                    ]
        # `skipped` holds the product in the cycle after `start`
        m.d.sync += [skipped.eq(self.row_begin[row_log:][:bits] * self.d_stride[:bits]), setup.eq(self.start)]
        first_group = Signal(bits)
        m.d.comb += first_group.eq(self.d_base + skipped)
        with m.If(setup):
            m.d.sync += [
                active.eq(1),
                row.eq(self.row_begin),
                home_row.eq(self.row_begin),
                group.eq(first_group),
                home_group.eq(first_group),
            ]
        with m.If(self.start):
            m.d.sync += [Cat(rest, whole).eq(self.bytes), full.eq(self.bytes[size_log:].any())]
            m.d.sync += Cat(beat_ends, segment_ends, line_ends, patch_ends).eq(-1)
        with m.If(choose & beat_ends & last_beat):
            m.d.sync += active.eq(0)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)

        # stage 1: the choice is registered; stage 2: byte i of the word is byte (i + turn) mod size of the beat
        taken, final, ended = Signal(), Signal(), Signal()
        turn, chosen_turn = Signal(size_log), Signal(size_log)
        begin, end, chosen_end = Signal(lane_log), Signal(lane_log + 1), Signal(lane_log + 1)
        word, place, bank = Signal(offset_bits - lane_log), Signal(bits), Signal(row_log)
        piece = Cat(taken, final, turn, begin, end, word, place, bank)
        m.submodules.pieces = pieces = Skid(width=len(piece))  # a beat that is missing must not reach the choice
        m.d.comb += [
            choose.eq(active & pieces.in_ready),
            chosen_turn.eq(position - lane),
            chosen_end.eq(Mux(beat_ends, lane + left, Mux(segment_ends, lane + in_segment[: len(end)], p.c))),
            pieces.in_valid.eq(active),
            pieces.in_data.eq(
                Cat(beat_ends, beat_ends & last_beat, chosen_turn, lane, chosen_end, offset[lane_log:], group, row)
            ),
            piece.eq(pieces.out_data),
            pieces.out_ready.eq(self.beats.valid),
            move.eq(pieces.out_valid & self.beats.valid),
            self.beats.ready.eq(pieces.out_valid & taken),
        ]
        m.d.sync += [ended.eq(move & final), self.done.eq(ended)]
        turned: Value = self.beats.payload
        for bit in range(size_log):
            rotated = Signal(p.data_bus, name=f"turned{bit}")
            m.d.comb += rotated.eq(Mux(turn[bit], turned.rotate_right(8 << bit), turned))
            turned = rotated
        m.d.sync += [
            self.y_en.eq(move),
            self.y_bank.eq(bank),
            self.y_addr.eq(place + (word >> part_log)),
            self.y_sub.eq(word[:part_log]),
            self.y_mask.eq(Cat(*((begin <= i) & (i < end) for i in range(p.c)))),
            self.y_data.eq(turned.replicate(-(-p.c // size))),
        ]
        return m


def _room(lane: Value, c: int) -> Value:
    """c - lane; by table, as a subtraction's carries are too slow here."""
    return Array(range(c, 0, -1))[lane]
