"""Weight fetch: commands → AXI reads → ring of words from which the array and the LayerNorm take their operands."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.gearbox import Gearbox
from hwgen.rtl.common.ram import Ram
from hwgen.rtl.memory.axi import ADDRESS_BITS, BYTES_BITS, COUNTER_BITS, AxiReader
from hwgen.rtl.memory.widen import STEPS_BITS, Widener

__all__ = ["WeightFetch"]


class WeightFetch(wiring.Component):
    """Words of C*K bytes in the order of the commands; `cmd_bytes` is what they take in DRAM, greater than 0: C*K bytes
    each, or less with `cmd_narrow`: tiles of parameters and `cmd_k_steps` packed words (`Widener`).

    The ring holds `p.weight_depth` words (its memories' depths are powers of two). `level` words are readable from the
    read base on (`written` pulses in the cycle before it counts one more): `r_en`, `r_index` < `level` → `r_data`
    LATENCY cycles later. Even and odd words lie in memories of their own, so a word an odd number of places away may be
    read beside it: `param_en`, `param_index` → `param_data`. `pop` moves the base by `pop_count` <= `level`; indices
    count from the base before a `pop` of the same cycle: `pop` may come with the last read. A full ring stalls the bus;
    nothing unread is overwritten.
    The AXI read channels are `axi_ar_*` and `axi_r_*`. `abort`, `error`, `error_slave`, `bytes` are those of
    `AxiReader`; `idle`: all commands are in the ring. `clear` empties the ring; only while idle, or with `abort` (words
    of an aborted command may be in the ring: follow `abort` with `clear`). `clear_bytes` zeroes `bytes`.
    """

    LATENCY = 2

    def __init__(self, p: HwParams, *, outstanding: int = 8, max_burst: int = 64) -> None:
        self.word_bytes, self.beat_bytes = p.ring_bytes, p.weight_bus // 8
        self.capacity = p.weight_depth
        self.depth = 1 << ceil_log2(max(p.weight_depth, 4))
        self.down = max(1, self.beat_bytes // self.word_bytes)  # words of a beat
        self.widener = Widener(p)
        last_words = {"more": exact_log2(self.down)} if self.down > 1 else {}  # in the last beat, than one word
        self.tag = data.StructLayout({"narrow": 1, "k_steps": STEPS_BITS} | last_words)
        self.reader = AxiReader(
            data_bits=p.weight_bus, outstanding=outstanding, max_burst=max_burst, tag_bits=self.tag.size
        )
        reader_ports = self.reader.signature.members
        levels = range(self.capacity + 1)
        super().__init__(
            {
                "cmd_valid": In(1),
                "cmd_ready": Out(1),
                "cmd_address": In(ADDRESS_BITS),
                "cmd_bytes": In(BYTES_BITS),
                "cmd_narrow": In(1),
                "cmd_k_steps": In(STEPS_BITS),
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
                "param_en": In(1),
                "param_index": In(ceil_log2(self.depth)),
                "param_data": Out(self.word_bytes * 8),
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
        m.submodules.widener = widener = self.widener
        room = Signal(range(self.capacity + 1), init=self.capacity)
        fill = Signal(ceil_log2(self.depth))
        write, complete = Signal(), Signal()
        asked, tag = Signal(self.tag), Signal(self.tag, reset_less=True)  # of a command, of the piece
        m.d.comb += [
            asked.narrow.eq(self.cmd_narrow),
            asked.k_steps.eq(self.cmd_k_steps),
            reader.cmd_tag.eq(asked),
            widener.clear.eq(self.abort | self.clear),
            widener.in_narrow.eq(tag.narrow),
            widener.in_k_steps.eq(tag.k_steps),
        ]
        if self.down > 1:
            m.submodules.gearbox = gearbox = Gearbox(in_bits=self.beat_bytes * 8, out_bits=self.word_bytes * 8)
            arrived = data.View(self.tag, reader.out_tag)
            with m.If(gearbox.in_valid & gearbox.in_ready):
                m.d.sync += tag.eq(arrived)
            m.d.comb += [
                asked.more.eq(self.cmd_bytes[exact_log2(self.word_bytes) :] - 1),
                gearbox.clear.eq(self.abort | self.clear),
                gearbox.in_valid.eq(reader.out_valid),
                gearbox.in_data.eq(reader.out_data),
                gearbox.in_last.eq(reader.out_last),
                gearbox.in_count.eq(Mux(reader.out_last, arrived.more, self.down - 1)),
                reader.out_ready.eq(gearbox.in_ready),
                widener.in_valid.eq(gearbox.out_valid),
                widener.in_data.eq(gearbox.out_data),
                gearbox.out_ready.eq(widener.in_ready),
            ]
        else:
            m.d.comb += [
                tag.eq(reader.out_tag),
                widener.in_valid.eq(reader.out_valid),
                widener.in_data.eq(reader.out_data),
                reader.out_ready.eq(widener.in_ready),
            ]
        m.d.comb += [
            widener.out_ready.eq(room != 0),
            write.eq(widener.out_valid & widener.out_ready),
            complete.eq(write & widener.out_complete),
        ]
        popped = Signal(range(self.capacity + 1))
        m.d.comb += popped.eq(Mux(self.pop, self.pop_count, 0))
        w_en = Signal.like(widener.out_parts)
        w_addr = Signal.like(fill, reset_less=True)
        w_data = Signal.like(widener.out_data, reset_less=True)
        base = Signal.like(fill)
        m.d.comb += self.idle.eq(reader.idle & ~widener.in_valid & ~w_en.any())
        m.d.sync += [
            w_en.eq(Mux(write, widener.out_parts, 0)),
            w_addr.eq(fill),
            w_data.eq(widener.out_data),
            self.written.eq(complete & ~self.clear),
            fill.eq(fill + complete),
            room.eq(room - complete + popped),
            self.level.eq(self.level + self.written - popped),
            base.eq(base + popped),
        ]
        with m.If(self.clear):
            m.d.sync += [fill.eq(0), base.eq(0), room.eq(self.capacity), self.level.eq(0)]
        self._memories(m, w_en, w_addr, w_data, base)
        return m

    def _memories(self, m: Module, w_en: Signal, w_addr: Signal, w_data: Signal, base: Signal) -> None:
        """Of even and of odd words; each serves the read that it has the word of."""
        address, param_address = Signal.like(base), Signal.like(base)
        m.d.comb += [address.eq(base + self.r_index), param_address.eq(base + self.param_index)]
        words = []
        for odd, name in enumerate(("even", "odd")):
            ram = Ram(width=self.word_bytes * 8, depth=self.depth // 2, grain=self.widener.piece_bits)
            m.submodules[name] = ram
            own, beside = Signal(name=f"{name}_own"), Signal(name=f"{name}_beside")
            m.d.comb += [
                own.eq(self.r_en & (address[0] == odd)),
                beside.eq(self.param_en & (param_address[0] == odd)),
                ram.w_en.eq(Mux(w_addr[0] == odd, w_en, 0)),
                ram.w_addr.eq(w_addr[1:]),
                ram.w_data.eq(w_data.replicate(len(ram.w_data) // len(w_data))),
                ram.r_en.eq(own | beside),
                ram.r_addr.eq(Mux(own, address[1:], param_address[1:])),
            ]
            words.append(ram.r_data)
        for read, result in ((address, self.r_data), (param_address, self.param_data)):
            from_odd = Signal(reset_less=True)
            word = Signal(self.word_bytes * 8, reset_less=True)
            m.d.sync += [from_odd.eq(read[0]), word.eq(Mux(from_odd, words[1], words[0]))]
            m.d.comb += result.eq(word)
