"""LOAD: beats of the weights region → words of the residual stream or of the LayerNorm unit's table; or bytes of the
activation function's."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.isa import BY_NAME
from hwgen.machine.params import HwParams
from hwgen.machine.tables import ACTIVATION_ENTRIES
from hwgen.rtl.common.gearbox import Gearbox
from hwgen.rtl.common.ports import table_write, word_write

__all__ = ["Load"]


class Load(wiring.Component):
    """Writes `bytes` bytes, little end first, to the words of C int16 from `d_base` on; a beat or a word per cycle.

    The words are `x`'s or, with `to_norm`, the parameter table's (`affine`); command inputs are read while `busy`.
    `x.en` is low in the cycle after `x_hold`, `affine.en` need not be. With `to_activation` (then not `to_norm`) they
    go to the entries of `activation` instead, a byte per cycle; `d_base` is 0.
    `bytes` is a multiple of 2*C, greater than 0. Exactly ceil(bytes / beat) beats are taken; bytes of the last one that
    are too many are dropped. `done` comes in the cycle after the last write, of `activation` with it. `abort` (level)
    drops the command.
    """

    def __init__(self, p: HwParams) -> None:
        self.word_bytes, self.beat_bytes = 2 * p.c, p.data_bus // 8
        super().__init__(
            {
                "start": In(1),
                "to_norm": In(1),
                "to_activation": In(1),
                "bytes": In(BY_NAME["bytes"].bits),
                "d_base": In(BY_NAME["d_base"].bits),
                "busy": Out(1),
                "done": Out(1),
                "abort": In(1),
                "beats": In(stream.Signature(p.data_bus)),
                "x_hold": In(1),
                "x": Out(word_write(depth=p.x_depth, width=16 * p.c)),
                "affine": Out(table_write(p)),
                "activation": Out(word_write(depth=ACTIVATION_ENTRIES, width=8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = Gearbox(in_bits=8 * self.beat_bytes, out_bits=8 * self.word_bytes)
        # Counted in the smaller of beat and word, of which a beat holds `down`.
        unit = exact_log2(min(self.beat_bytes, self.word_bytes))
        left = Signal(BY_NAME["bytes"].bits - unit, reset_less=True)
        more = Signal()  # beats to come
        last, accept, write = Signal(), Signal(), Signal()
        # A cycle after `x_hold`, or with a word's last byte, from a register: all that holds up the beats begins here.
        free = Signal()
        address = Signal(16, reset_less=True)
        place, following = Signal(exact_log2(self.word_bytes)), Signal(exact_log2(self.word_bytes))  # of a byte
        m.d.comb += [
            last.eq(left <= gearbox.down),
            gearbox.clear.eq(self.abort),
            gearbox.in_valid.eq(self.beats.valid & more),
            gearbox.in_data.eq(self.beats.payload),
            gearbox.in_last.eq(last),
            self.beats.ready.eq(gearbox.in_ready & more),
            accept.eq(self.beats.valid & self.beats.ready),
            gearbox.out_ready.eq(free),
            write.eq(gearbox.out_valid & free),
            following.eq(place + (gearbox.out_valid & self.to_activation)),
            self.x.en.eq(write & ~self.to_norm & ~self.to_activation),
            self.x.addr.eq(address),
            self.x.data.eq(gearbox.out_data),
            self.affine.en.eq(write & self.to_norm),
            self.affine.addr.eq(address),
            self.affine.data.eq(gearbox.out_data),
        ]
        if gearbox.down > 1:
            m.d.comb += gearbox.in_count.eq(Mux(last, left - 1, gearbox.down - 1))
        with m.If(accept):
            m.d.sync += [left.eq(left - gearbox.down), more.eq(~last)]
        m.d.sync += [
            free.eq(Mux(self.to_activation, following.all(), self.to_norm | ~self.x_hold)),
            place.eq(following),
            self.activation.en.eq(gearbox.out_valid & self.to_activation),
            self.activation.addr.eq(Cat(place, address)),
            self.activation.data.eq(gearbox.out_data.word_select(place, 8)),
            self.done.eq(write & gearbox.out_last),
        ]
        with m.If(write):
            m.d.sync += address.eq(address + 1)
            with m.If(gearbox.out_last):
                m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), more.eq(1), left.eq(self.bytes[unit:]), address.eq(self.d_base)]
        with m.If(self.abort):
            m.d.sync += [self.busy.eq(0), more.eq(0), self.done.eq(0), place.eq(0), self.activation.en.eq(0)]
        return m
