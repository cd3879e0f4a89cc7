"""Weight fetch: commands → reads on the weight ports → ring of words from which the array takes its operands."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.machine.interfaces import numbered
from hwgen.machine.params import HwParams
from hwgen.rtl.common.gearbox import Gearbox
from hwgen.rtl.common.ports import bundled
from hwgen.rtl.common.ram import Ram
from hwgen.rtl.memory.axi import OUTSTANDING, command
from hwgen.rtl.memory.stripes import StripedReader, port_addresses
from hwgen.rtl.memory.widen import STEPS_BITS, Widener

__all__ = ["WeightFetch", "ring_read", "weight_command"]


def weight_command(p: HwParams) -> stream.Signature:
    """What to fetch: see `WeightFetch`."""
    return command(narrow=1, k_steps=STEPS_BITS, **port_addresses(p))


def ring_read(p: HwParams) -> wiring.Signature:
    """The ring from the side of who reads: two words at a time, and how many to drop."""
    members: dict[str, wiring.Member] = {"written": In(1), "pop": Out(1), "pop_count": Out(range(p.weight_depth + 1))}
    for prefix in ("", "param_"):
        index = Out(ceil_log2(p.ring_depth))
        members |= {f"{prefix}en": Out(1), f"{prefix}index": index, f"{prefix}data": In(8 * p.ring_bytes)}
    return wiring.Signature(members)


class WeightFetch(wiring.Component):
    """Words of C*K bytes in the order of the commands; `bytes` is what they take in DRAM, greater than 0: C*K bytes
    each, or less with `narrow`: tiles of parameters and `k_steps` packed words (`Widener`). With several weight ports
    there is an address for each.

    The ring holds `p.weight_depth` words (its memories' depths are powers of two). `level` words are readable from the
    read base on (`ring.written` pulses in the cycle before it counts one more): `en`, `index` < `level` → `data`
    LATENCY cycles later. Even and odd words lie in memories of their own, so a word an odd number of places away may be
    read beside it: `param_en`, `param_index` → `param_data`. `pop` moves the base by `pop_count` <= `level`; indices
    count from the base before a `pop` of the same cycle: `pop` may come with the last read. A full ring stalls the bus;
    nothing unread is overwritten.
    `ar`, `r`, `abort`, `error`, `error_slave`, `bytes` are those of `StripedReader`; `idle`: all commands are in the
    ring. `clear` empties the ring; only while idle, or with `abort` (words of an aborted command may be in the ring:
    follow `abort` with `clear`). `clear_bytes` zeroes `bytes`.
    """

    LATENCY = 2

    def __init__(self, p: HwParams, *, outstanding: int = OUTSTANDING) -> None:
        self.word_bytes, self.beat_bytes = p.ring_bytes, p.weight_bus // 8
        self.capacity = p.weight_depth
        self.depth = p.ring_depth
        self.down = max(1, self.beat_bytes // self.word_bytes)  # words of a beat
        self.widener = Widener(p)
        last_words = {"more": exact_log2(self.down)} if self.down > 1 else {}  # in the last beat, than one word
        self.tag = data.StructLayout({"narrow": 1, "k_steps": STEPS_BITS} | last_words)
        self.reader = StripedReader(p, outstanding=outstanding, tag_bits=self.tag.size)
        self.addresses = ("address", *port_addresses(p))
        self.own = [numbered(name, port) for port in range(p.weight_ports) for name in ("ar", "r", "bytes")]
        of_ports = {name: self.reader.signature.members[name] for name in (*self.own, "error", "error_slave")}
        super().__init__(
            of_ports
            | {
                "command": In(weight_command(p)),
                "abort": In(1),
                "clear": In(1),
                "clear_bytes": In(1),
                "idle": Out(1),
                "level": Out(range(self.capacity + 1)),
                "ring": In(ring_read(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        wanted, beats = self.command.payload, reader.beats
        self._reader(m)

        # Accepting side: beats (or their parts) go to the place `fill`, one register stage before the memory.
        m.submodules.widener = widener = self.widener
        room = Signal(range(self.capacity + 1), init=self.capacity)
        fill = Signal(ceil_log2(self.depth))
        write, complete = Signal(), Signal()
        asked_tag, tag = Signal(self.tag), Signal(self.tag, reset_less=True)  # of a command, of the piece
        m.d.comb += [
            asked_tag.narrow.eq(wanted.narrow),
            asked_tag.k_steps.eq(wanted.k_steps),
            reader.command.payload.tag.eq(asked_tag),
            widener.clear.eq(self.abort | self.clear),
            widener.in_narrow.eq(tag.narrow),
            widener.in_k_steps.eq(tag.k_steps),
        ]
        if self.down > 1:
            m.submodules.gearbox = gearbox = Gearbox(in_bits=self.beat_bytes * 8, out_bits=self.word_bytes * 8)
            arrived = data.View(self.tag, beats.payload.tag)
            with m.If(gearbox.in_valid & gearbox.in_ready):
                m.d.sync += tag.eq(arrived)
            m.d.comb += [
                asked_tag.more.eq(wanted.bytes[exact_log2(self.word_bytes) :] - 1),
                gearbox.clear.eq(self.abort | self.clear),
                gearbox.in_valid.eq(beats.valid),
                gearbox.in_data.eq(beats.payload.data),
                gearbox.in_last.eq(beats.payload.last),
                gearbox.in_count.eq(Mux(beats.payload.last, arrived.more, self.down - 1)),
                beats.ready.eq(gearbox.in_ready),
                widener.in_valid.eq(gearbox.out_valid),
                widener.in_data.eq(gearbox.out_data),
                gearbox.out_ready.eq(widener.in_ready),
            ]
        else:
            m.d.comb += [
                tag.eq(beats.payload.tag),
                widener.in_valid.eq(beats.valid),
                widener.in_data.eq(beats.payload.data),
                beats.ready.eq(widener.in_ready),
            ]
        m.d.comb += [
            widener.out_ready.eq(room != 0),
            write.eq(widener.out_valid & widener.out_ready),
            complete.eq(write & widener.out_complete),
        ]
        popped = Signal(range(self.capacity + 1))
        m.d.comb += popped.eq(Mux(self.ring.pop, self.ring.pop_count, 0))
        w_en = Signal.like(widener.out_parts)
        w_addr = Signal.like(fill, reset_less=True)
        w_data = Signal.like(widener.out_data, reset_less=True)
        base = Signal.like(fill)
        m.d.comb += self.idle.eq(reader.idle & ~widener.in_valid & ~w_en.any())
        m.d.sync += [
            w_en.eq(Mux(write, widener.out_parts, 0)),
            w_addr.eq(fill),
            w_data.eq(widener.out_data),
            self.ring.written.eq(complete & ~self.clear),
            fill.eq(fill + complete),
            room.eq(room - complete + popped),
            self.level.eq(self.level + self.ring.written - popped),
            base.eq(base + popped),
        ]
        with m.If(self.clear):
            m.d.sync += [fill.eq(0), base.eq(0), room.eq(self.capacity), self.level.eq(0)]
        self._memories(m, w_en, w_addr, w_data, base)
        return m

    def _reader(self, m: Module) -> None:
        """The AXI side, but for the tags of its commands and its beats."""
        reader, asked, wanted = self.reader, self.reader.command.payload, self.command.payload
        ports = wiring.Signature({name: self.signature.members[name] for name in self.own})
        wiring.connect(m, bundled(reader, ports), wiring.flipped(bundled(self, ports)))
        m.d.comb += [asked[name].eq(wanted[name]) for name in self.addresses]
        m.d.comb += [
            reader.command.valid.eq(self.command.valid),
            self.command.ready.eq(reader.command.ready),
            asked.bytes.eq(wanted.bytes),
            reader.abort.eq(self.abort),
            reader.clear.eq(self.clear_bytes),
        ]
        m.d.comb += [self.error.eq(reader.error), self.error_slave.eq(reader.error_slave)]

    def _memories(self, m: Module, w_en: Signal, w_addr: Signal, w_data: Signal, base: Signal) -> None:
        """Of even and of odd words; each serves the read that it has the word of."""
        address, param_address = Signal.like(base), Signal.like(base)
        m.d.comb += [address.eq(base + self.ring.index), param_address.eq(base + self.ring.param_index)]
        words = []
        for odd, name in enumerate(("even", "odd")):
            ram = Ram(width=self.word_bytes * 8, depth=self.depth // 2, grain=self.widener.piece_bits)
            m.submodules[name] = ram
            own, beside = Signal(name=f"{name}_own"), Signal(name=f"{name}_beside")
            m.d.comb += [
                own.eq(self.ring.en & (address[0] == odd)),
                beside.eq(self.ring.param_en & (param_address[0] == odd)),
                ram.w_en.eq(Mux(w_addr[0] == odd, w_en, 0)),
                ram.w_addr.eq(w_addr[1:]),
                ram.w_data.eq(w_data.replicate(len(ram.w_data) // len(w_data))),
                ram.r_en.eq(own | beside),
                ram.r_addr.eq(Mux(own, address[1:], param_address[1:])),
            ]
            words.append(ram.r_data)
        for read, result in ((address, self.ring.data), (param_address, self.ring.param_data)):
            from_odd = Signal(reset_less=True)
            word = Signal(self.word_bytes * 8, reset_less=True)
            m.d.sync += [from_odd.eq(read[0]), word.eq(Mux(from_odd, words[1], words[0]))]
            m.d.comb += result.eq(word)
