"""Patches: a raster of uint8 pixels from the input region → one row of Y per patch."""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.gearbox import Skid
from hwgen.rtl.common.ports import OPERAND_BITS, row_write

__all__ = ["ImageLoader"]


class ImageLoader(wiring.Component):
    """IMAGE: `bytes` bytes in the order [pixel row][column][channel], from `beats`, to rows row_begin, ... of Y,
    each as an operand of nine bits from 0 to 255.

    `segment` neighbouring bytes belong to one patch, `patches` segments make a pixel row, `patch_height` pixel rows a
    row of patches; none of them may be 0. `start` is a pulse with all command inputs valid; they stay stable until
    `done`. As many bytes are moved per cycle as the beat, the segment and the C-word still have, without bubbles
    between them. What the last beat holds beyond `bytes` is discarded; no further beat is taken.
    Bytes of a Y word that no patch byte falls on are not written.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        row = {"banks": p.t, "parts": p.word // p.c, "depth": p.y_depth}
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
                "y": Out(row_write(**row, width=OPERAND_BITS * p.c, mask=p.c)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        self.offset_bits, self.size_log = ceil_log2(p.y_depth * p.word + 1), exact_log2(p.data_bus // 8)
        self.active, self.setup = Signal(), Signal()
        # What to move is chosen by the counts alone, a cycle before its beat must be there.
        self.choose = Signal()
        # Registers: they are known with the numbers from which they follow. Before the first piece, all ends.
        self.beat_ends, self.segment_ends, self.line_ends, self.patch_ends = (
            Signal(reset_less=True, name=name) for name in ("beat_ends", "segment_ends", "line_ends", "patch_ends")
        )
        m.d.sync += self.setup.eq(self.start)
        with m.If(self.setup):
            m.d.sync += self.active.eq(1)
        self._beats(m)
        self._segments(m)
        self._rows(m)
        self._pieces(m)
        self._move(m)
        with m.If(self.choose & self.beat_ends & self.last_beat):
            m.d.sync += self.active.eq(0)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
            m.d.sync += Cat(self.beat_ends, self.segment_ends, self.line_ends, self.patch_ends).eq(-1)
        return m

    def _beats(self, m: Module) -> None:
        """How many of them are still to come."""
        whole = Signal(32 - self.size_log, reset_less=True)  # full beats behind this one
        self.rest = rest = Signal(self.size_log, reset_less=True)  # bytes behind all full ones
        self.full = full = Signal(reset_less=True)  # `whole` is not 0
        self.last_beat = Signal(reset_less=True)
        with m.If((self.setup | self.choose) & self.beat_ends):
            more = whole[1:].any()  # than one
            m.d.sync += [
                whole.eq(whole - 1),
                full.eq(more),
                self.last_beat.eq(~full | ~(more | rest.any())),
            ]
        with m.If(self.start):
            m.d.sync += [Cat(rest, whole).eq(self.bytes), full.eq(self.bytes[self.size_log :].any())]

    def _segments(self, m: Module) -> None:
        """Which segment of its line and which line of its patch it is, and where in the patch vector it begins."""
        # Segments of the line and lines of the patch, this one too; whether it is the last, in registers, too.
        in_line, in_patch = Signal(16, reset_less=True), Signal(16, reset_less=True)
        last_line = Signal(reset_less=True)
        short_line, low_patch = Signal(), Signal()  # lines of one segment, patches of one line
        self.line_offset = line_offset = Signal(self.offset_bits, reset_less=True)
        self.following_offset = Signal(self.offset_bits)
        m.d.sync += [short_line.eq(self.patches == 1), low_patch.eq(self.patch_height == 1)]
        m.d.comb += self.following_offset.eq(line_offset + self.segment)
        with m.If((self.setup | self.choose) & self.segment_ends):
            m.d.sync += [
                in_line.eq(in_line - 1),
                self.line_ends.eq(in_line == 2),
                self.patch_ends.eq((in_line == 2) & last_line),
            ]
            with m.If(self.line_ends):
                m.d.sync += [
                    in_line.eq(self.patches),
                    self.line_ends.eq(short_line),
                    in_patch.eq(in_patch - 1),
                    last_line.eq(in_patch == 2),
                    self.patch_ends.eq(short_line & (in_patch == 2)),
                    line_offset.eq(self.following_offset),
                ]
            with m.If(self.patch_ends):
                m.d.sync += [
                    in_patch.eq(self.patch_height),
                    last_line.eq(low_patch),
                    self.patch_ends.eq(short_line & low_patch),
                    line_offset.eq(0),
                ]

    def _rows(self, m: Module) -> None:
        """The row being written, and the first one of this row of patches, to which every pixel row but the last
        returns."""
        row_log, bits = ceil_log2(self.p.t), len(self.y.addr)
        self.row, home_row = Signal(row_log, reset_less=True), Signal(row_log, reset_less=True)
        self.group, home_group = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        row, group = self.row, self.group
        following, first = Signal(bits), Signal(bits)
        skipped = Signal(bits, reset_less=True)  # the product in the cycle after `start`
        m.d.comb += [
            following.eq(group + Mux(row.all(), self.d_stride, 0)),
            first.eq(self.d_base + skipped),
        ]
        m.d.sync += skipped.eq(self.row_begin[row_log:][:bits] * self.d_stride[:bits])
        with m.If((self.setup | self.choose) & self.segment_ends):
            m.d.sync += [row.eq(row + 1), group.eq(following)]
            with m.If(self.line_ends):
                m.d.sync += [row.eq(home_row), group.eq(home_group)]
            with m.If(self.patch_ends):
                m.d.sync += [row.eq(row + 1), group.eq(following), home_row.eq(row + 1), home_group.eq(following)]
        with m.If(self.setup):
            m.d.sync += [row.eq(self.row_begin), home_row.eq(self.row_begin), group.eq(first), home_group.eq(first)]

    def _pieces(self, m: Module) -> None:
        """What is left of beat, segment and C-word: the shortest of them is moved at once."""
        p = self.p
        lane_log = ceil_log2(p.c)
        beat_ends, segment_ends = self.beat_ends, self.segment_ends
        self.position = position = Signal(self.size_log, reset_less=True)  # in the beat
        self.left = left = Signal(self.size_log + 1, reset_less=True)  # of the beat
        self.in_segment = in_segment = Signal(16, reset_less=True)
        self.offset = offset = Signal(self.offset_bits, reset_less=True)  # in the patch vector
        self.lane = lane = Signal(lane_log)
        room = Signal(lane_log + 1)
        m.d.comb += [lane.eq(offset), room.eq(_room(lane, p.c))]
        next_left, next_offset, next_segment = (Signal.like(signal) for signal in (left, offset, in_segment))
        next_room = _room(next_offset[:lane_log], p.c)
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
            m.d.comb += next_left.eq(Mux(self.full, 1 << self.size_log, self.rest))
        with m.If(segment_ends):
            m.d.comb += [next_segment.eq(self.segment), next_offset.eq(self.line_offset)]
            with m.If(self.line_ends):
                m.d.comb += next_offset.eq(self.following_offset)
            with m.If(self.patch_ends):
                m.d.comb += next_offset.eq(0)
        with m.If(self.setup | self.choose):
            m.d.sync += [
                left.eq(next_left),
                offset.eq(next_offset),
                in_segment.eq(next_segment),
                position.eq(Mux(segment_ends, position + in_segment, position + room)),
                beat_ends.eq((next_left <= next_room) & (long | (next_left <= near))),
                segment_ends.eq(~long & (near <= next_left) & (near <= next_room)),
            ]
            with m.If(beat_ends):
                m.d.sync += position.eq(0)

    def _move(self, m: Module) -> None:
        """Stage 1: the choice is registered; stage 2: byte i of the word is byte (i + turn) mod size of the beat."""
        p = self.p
        size, size_log = 1 << self.size_log, self.size_log
        lane_log, part_log = ceil_log2(p.c), ceil_log2(p.word // p.c)
        beat_ends, lane = self.beat_ends, self.lane
        taken, final, ended, move = Signal(), Signal(), Signal(), Signal()
        turn, chosen_turn = Signal(size_log), Signal(size_log)
        begin, end, chosen_end = Signal(lane_log), Signal(lane_log + 1), Signal(lane_log + 1)
        word, place, bank = Signal(self.offset_bits - lane_log), Signal.like(self.y.addr), Signal.like(self.y.bank)
        piece = Cat(taken, final, turn, begin, end, word, place, bank)
        m.submodules.pieces = pieces = Skid(width=len(piece))  # a beat that is missing must not reach the choice
        segment_end = Mux(self.segment_ends, lane + self.in_segment[: len(end)], p.c)
        chosen = Cat(
            beat_ends, beat_ends & self.last_beat, chosen_turn, lane, chosen_end, self.offset[lane_log:], self.group,
            self.row,
        )  # fmt: skip
        m.d.comb += [
            self.choose.eq(self.active & pieces.in_ready),
            chosen_turn.eq(self.position - lane),
            chosen_end.eq(Mux(beat_ends, lane + self.left, segment_end)),
            pieces.in_valid.eq(self.active),
            pieces.in_data.eq(chosen),
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
        pixels = (turned.word_select(lane % size, 8) for lane in range(p.c))
        m.d.sync += [
            self.y.en.eq(move),
            self.y.bank.eq(bank),
            self.y.addr.eq(place + (word >> part_log)),
            self.y.sub.eq(word[:part_log]),
            self.y.mask.eq(Cat(*((begin <= i) & (i < end) for i in range(p.c)))),
            self.y.data.eq(Cat(*(Cat(pixel, Const(0, OPERAND_BITS - 8)) for pixel in pixels))),
        ]


def _room(lane: Value, c: int) -> Value:
    """c - lane; by table, as a subtraction's carries are too slow here."""
    return Array(range(c, 0, -1))[lane]
