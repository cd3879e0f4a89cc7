"""Weight ports: several AXI readers that serve one stream, striped over them beat by beat.

Tested by tests/rtl/memory/test_weights.py.
"""

from __future__ import annotations

from functools import reduce
from operator import and_

from amaranth import Cat, Module, ResetInserter, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.interfaces import numbered
from hwgen.machine.params import HwParams
from hwgen.rtl.memory.axi import (
    ADDRESS_BITS,
    COUNTER_BITS,
    AxiReader,
    address_channel,
    command,
    read_channel,
)

__all__ = ["StripedReader", "port_addresses"]


def port_addresses(p: HwParams) -> dict[str, int]:
    """Fields of a command beside `address`: where the other ports find their parts of it."""
    return {numbered("address", port): ADDRESS_BITS for port in range(1, p.weight_ports)}


class StripedReader(wiring.Component):
    """`p.weight_ports` readers as one of `p.weight_bus` bits. Port i brings every beat's i-th part of `p.port_bits`.

    `command`: `bytes` (> 0) of the stream; port i finds its parts of them densely from its address on (`address`,
    `address1`, ...; multiples of its beat), as many beats as the stream has. It is taken when all ports can take it.
    `beats`, `abort`, `clear`, `idle` are those of `AxiReader`; `error`, `error_slave` have a bit per port, and each
    port counts its own bytes (`bytes`, `bytes1`, ...), as each has its own channels (`ar`, `r`, `ar1`, `r1`, ...).
    Each of several ports has a queue of `ahead` beats: so far may it be ahead of another one before it waits, as delays
    of memories differ and change.
    """

    def __init__(self, p: HwParams, *, outstanding: int, tag_bits: int, ahead: int = 64) -> None:
        self.ports, self.bits, self.ahead = p.weight_ports, p.port_bits, ahead
        # The first port's beats bring the tag; the others have one that is not used, as none is a [-1:0] in Verilog.
        self.readers = [
            AxiReader(data_bits=p.port_bits, outstanding=outstanding, max_burst=p.max_burst, tag_bits=bits)
            for bits in (tag_bits, *(1 for _ in range(1, self.ports)))
        ]
        beat = data.StructLayout({"data": p.weight_bus, "last": 1, "tag": tag_bits})
        members: dict[str, wiring.Member] = {
            "command": In(command(tag=tag_bits, **port_addresses(p))),
            "beats": Out(stream.Signature(beat)),
            "abort": In(1),
            "clear": In(1),
            "idle": Out(1),
            "error": Out(self.ports),
            "error_slave": Out(self.ports),
        }
        for port in range(self.ports):
            members |= {
                numbered("bytes", port): Out(COUNTER_BITS),
                numbered("ar", port): Out(address_channel()),
                numbered("r", port): In(read_channel(p.port_bits)),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked, idle = self.command.payload, Signal(self.ports)
        for port, reader in enumerate(self.readers):
            m.submodules[numbered("reader", port)] = reader
            wiring.connect(m, reader.ar, wiring.flipped(getattr(self, numbered("ar", port))))
            wiring.connect(m, reader.r, wiring.flipped(getattr(self, numbered("r", port))))
            m.d.comb += [
                reader.command.payload.address.eq(asked[numbered("address", port)]),
                reader.command.payload.bytes.eq(self._share(asked.bytes)),
                reader.abort.eq(self.abort),
                reader.clear.eq(self.clear),
                idle[port].eq(reader.idle),
                self.error[port].eq(reader.error),
                self.error_slave[port].eq(reader.error_slave),
                getattr(self, numbered("bytes", port)).eq(reader.bytes),
            ]
        first = self.readers[0]
        m.d.comb += first.command.payload.tag.eq(asked.tag)
        ready = reduce(and_, (reader.command.ready for reader in self.readers))
        m.d.comb += [self.command.ready.eq(ready), self.idle.eq(idle.all())]
        m.d.comb += [reader.command.valid.eq(self.command.valid & ready) for reader in self.readers]
        if self.ports == 1:
            wiring.connect(m, first.beats, wiring.flipped(self.beats))
        else:
            self._join(m, idle)
        return m

    def _share(self, size: Signal) -> Cat:
        """Bytes of one port, right as to its number of beats: `size` div ports, rounded up only where that is even.
        What is odd ends inside a beat either way."""
        shift = exact_log2(self.ports)
        return Cat(size[shift] | size[:shift].any(), size[shift + 1 :])

    def _join(self, m: Module, idle: Signal) -> None:
        """A beat leaves when each port has its part of it."""
        lanes = []
        for port, reader in enumerate(self.readers):
            bits = len(reader.beats.payload.as_value()) if port == 0 else self.bits
            lane = fifo.SyncFIFOBuffered(width=bits, depth=self.ahead)
            m.submodules[numbered("lane", port)] = ResetInserter(self.abort)(lane)
            lanes.append(lane)
            m.d.comb += [
                lane.w_en.eq(reader.beats.valid),
                lane.w_data.eq(reader.beats.payload.as_value()[:bits]),
                reader.beats.ready.eq(lane.w_rdy),
                idle[port].eq(reader.idle & (lane.level == 0)),
            ]
        there = reduce(and_, (lane.r_rdy for lane in lanes))
        beside = lanes[0].r_data[self.bits :]
        m.d.comb += [
            self.beats.valid.eq(there),
            self.beats.payload.eq(Cat(Cat(lane.r_data[: self.bits] for lane in lanes), beside)),
        ]
        m.d.comb += [lane.r_en.eq(there & self.beats.ready) for lane in lanes]
