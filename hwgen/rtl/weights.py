"""Weight fetch: commands → AXI reads → ring of words from which the array and the LayerNorm take their operands."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..params import HwParams
from .axi import ADDRESS_BITS, BYTES_BITS, COUNTER_BITS, AxiReader
from .gearbox import Gearbox
from .ram import Ram, select_bits

__all__ = ["WeightFetch"]


class WeightFetch(wiring.Component):
    """Words of C*K bytes in the order of the commands; `cmd_bytes` is a multiple of C*K, greater than 0.

    The ring holds `p.weight_depth` words (its memory is a power of two). `level` words are readable from the read base
    on (`written` pulses in the cycle before it counts one more): `r_en`, `r_index` < `level` → `r_data` LATENCY cycles
    later. `pop` moves the base by `pop_count` <= `level`; `r_index` counts from the base before a `pop` of the same
    cycle: `pop` may come with the last read. A full ring stalls the bus; nothing unread is overwritten.
    The AXI read channels are `axi_ar_*` and `axi_r_*`. `abort`, `error`, `error_slave`, `bytes` are those of
    `AxiReader`; `idle`: all commands are in the ring. `clear` empties the ring; only while idle, or with `abort` (words
    of an aborted command may be in the ring: follow `abort` with `clear`). `clear_bytes` zeroes `bytes`.
    """

    LATENCY = 2

    def __init__(self, p: HwParams, *, outstanding: int = 8, max_burst: int = 64) -> None:
        self.word_bytes, self.beat_bytes = p.ring_bytes, p.weight_bus // 8
        self.capacity = p.weight_depth
        self.depth = 1 << ceil_log2(max(p.weight_depth, 2))
        self.down = max(1, self.beat_bytes // self.word_bytes)  # words of a beat
        self.up = max(1, self.word_bytes // self.beat_bytes)  # beats of a word
        self.reader = AxiReader(
            data_bits=p.weight_bus, outstanding=outstanding, max_burst=max_burst, tag_bits=exact_log2(self.down)
        )
        reader_ports = self.reader.signature.members
        levels = range(self.capacity + 1)
        super().__init__(
            {
                "cmd_valid": In(1),
                "cmd_ready": Out(1),
                "cmd_address": In(ADDRESS_BITS),
                "cmd_bytes": In(BYTES_BITS),
                "abort": In(1),
                "clear": In(1),
                "clear_bytes": In(1),
                "idle": Out(1),
                "error": Out(1),
                "error_slave": Out(1),
                "bytes": Out(COUNTER_BITS),
                "level": Out(levels),
                "written": Out(1),
                "r_en": In(1),
                "r_index": In(ceil_log2(self.depth)),
                "r_data": Out(self.word_bytes * 8),
                "pop": In(1),
                "pop_count": In(levels),
            }
            | {f"axi_{name}": member for name, member in reader_ports.items() if name.startswith(("ar_", "r_"))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        for name in ("cmd_valid", "cmd_address", "cmd_bytes", "abort"):
            m.d.comb += getattr(reader, name).eq(getattr(self, name))
        m.d.comb += reader.clear.eq(self.clear_bytes)
        for name in ("cmd_ready", "error", "error_slave", "bytes"):
            m.d.comb += getattr(self, name).eq(getattr(reader, name))
        for name in reader.signature.members:
            if name.startswith(("ar_", "r_")):
                inner, outer = getattr(reader, name), getattr(self, f"axi_{name}")
                outward = reader.signature.members[name].flow == Out
                m.d.comb += outer.eq(inner) if outward else inner.eq(outer)

        # Accepting side: beats (or their parts) go to the place `fill`, one register stage before the memory.
        valid, data = Signal(), Signal(min(self.beat_bytes, self.word_bytes) * 8)
        room = Signal(range(self.capacity + 1), init=self.capacity)
        fill = Signal(ceil_log2(self.depth))
        part = Signal(select_bits(self.up))
        accept, complete = Signal(), Signal()
        if self.down > 1:
            m.submodules.gearbox = gearbox = Gearbox(in_bits=self.beat_bytes * 8, out_bits=self.word_bytes * 8)
            # The tag of a command is the number of words in its last beat, less one.
            m.d.comb += [
                reader.cmd_tag.eq(self.cmd_bytes[exact_log2(self.word_bytes) :] - 1),
                gearbox.clear.eq(self.abort | self.clear),
                gearbox.in_valid.eq(reader.out_valid),
                gearbox.in_data.eq(reader.out_data),
                gearbox.in_last.eq(reader.out_last),
                gearbox.in_count.eq(Mux(reader.out_last, reader.out_tag, self.down - 1)),
                reader.out_ready.eq(gearbox.in_ready),
                valid.eq(gearbox.out_valid),
                data.eq(gearbox.out_data),
                gearbox.out_ready.eq(room != 0),
            ]
        else:
            m.d.comb += [valid.eq(reader.out_valid), data.eq(reader.out_data), reader.out_ready.eq(room != 0)]
        m.d.comb += [
            accept.eq(valid & (room != 0)),
            complete.eq(accept & (part == self.up - 1)),
        ]
        popped = Signal(range(self.capacity + 1))
        m.d.comb += popped.eq(Mux(self.pop, self.pop_count, 0))
        m.submodules.ram = ram = Ram(width=self.word_bytes * 8, depth=self.depth, grain=data.shape().width)
        w_en = Signal(self.up)
        w_addr = Signal.like(fill, reset_less=True)
        w_data = Signal.like(data, reset_less=True)
        base = Signal.like(fill)
        r_data = Signal(self.word_bytes * 8, reset_less=True)
        m.d.comb += [
            self.r_data.eq(r_data),
            ram.w_en.eq(w_en),
            ram.w_addr.eq(w_addr),
            ram.w_data.eq(w_data.replicate(self.up)),
            ram.r_en.eq(self.r_en),
            ram.r_addr.eq(base + self.r_index),
            self.idle.eq(reader.idle & ~valid & ~w_en.any()),
        ]
        m.d.sync += [
            w_en.eq(accept << part),
            w_addr.eq(fill),
            w_data.eq(data),
            self.written.eq(complete & ~self.clear),
            fill.eq(fill + complete),
            room.eq(room - complete + popped),
            self.level.eq(self.level + self.written - popped),
            base.eq(base + popped),
            r_data.eq(ram.r_data),
        ]
        with m.If(accept):
            m.d.sync += part.eq((part + 1) & (self.up - 1))
        with m.If(self.abort):
            m.d.sync += part.eq(0)
        with m.If(self.clear):
            m.d.sync += [part.eq(0), fill.eq(0), base.eq(0), room.eq(self.capacity), self.level.eq(0)]
        return m
