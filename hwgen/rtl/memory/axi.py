"""AXI4 masters: read and write channels that turn byte-range commands into bursts and beats."""

from __future__ import annotations

from amaranth import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.rtl.common.gearbox import ShiftQueue, Skid
from hwgen.rtl.common.ports import strobed_beats
from hwgen.rtl.memory.bursts import ADDRESS_BITS, BYTES_BITS, BurstSplitter, incremented

__all__ = [
    "CALM_CYCLES", "COUNTER_BITS", "OUTSTANDING", "AxiReader", "AxiWriter", "address_channel", "command",
    "read_channel", "response_channel", "write_channel",
]  # fmt: skip

COUNTER_BITS = 48  #: of a byte counter
OUTSTANDING = 8  #: bursts under way, unless told otherwise
#: Without a beat that nobody asked for, after which no more of them are expected.
CALM_CYCLES = 256
INCR = 1
SLVERR = 2


def address_channel() -> wiring.Signature:
    """AR or AW; `Out` is who sends, in all channels."""
    burst = {"addr": Out(ADDRESS_BITS), "len": Out(8), "size": Out(3), "burst": Out(2)}
    return wiring.Signature({"valid": Out(1), "ready": In(1)} | burst)


def read_channel(bits: int) -> wiring.Signature:
    return wiring.Signature({"valid": Out(1), "ready": In(1), "data": Out(bits), "resp": Out(2), "last": Out(1)})


def write_channel(bits: int) -> wiring.Signature:
    beat = {"data": Out(bits), "strb": Out(bits // 8), "last": Out(1)}
    return wiring.Signature({"valid": Out(1), "ready": In(1)} | beat)


def response_channel() -> wiring.Signature:
    return wiring.Signature({"valid": Out(1), "ready": In(1), "resp": Out(2)})


def command(**more: int) -> stream.Signature:
    """`bytes` bytes from `address` on, and so many bits of what else goes with them."""
    return stream.Signature(data.StructLayout({"address": ADDRESS_BITS, "bytes": BYTES_BITS} | more))


def _byte_counter(m: Module, total: Signal, *, step: Signal, beat_bytes: int, clear: Signal) -> None:
    """`total` grows by a beat a cycle after every `step` and stays at its largest value instead of wrapping."""
    shift = exact_log2(beat_bytes)
    beats = Signal(COUNTER_BITS - shift)
    stepped = Signal()
    nearly = Signal()  # all bits but the lowest were set a cycle ago: full, as soon as that one is
    m.d.comb += total.eq(Cat(C(0, shift), beats))
    m.d.sync += [stepped.eq(step), nearly.eq(beats[1:].all())]
    with m.If(clear):
        m.d.sync += beats.eq(0)
    with m.Elif(stepped & ~(nearly & beats[0])):
        m.d.sync += beats.eq(incremented(beats))


def _more(m: Module, up: Value, down: Value, limit: int, name: str) -> Signal:
    """More `up`s came than `down`s (at most `limit` more), from a register."""
    count, some = Signal(range(limit + 1), name=name), Signal(name=f"{name}_some")
    with m.If(up & ~down):
        m.d.sync += [count.eq(count + 1), some.eq(1)]
    with m.Elif(down & ~up):
        m.d.sync += [count.eq(count - 1), some.eq(count != 1)]
    return some


def _status_ports() -> dict[str, wiring.Member]:
    return {
        "abort": In(1),
        "clear": In(1),
        "idle": Out(1),
        "error": Out(1),
        "error_slave": Out(1),
        "bytes": Out(COUNTER_BITS),
    }


class AxiReader(wiring.Component):
    """Read channels. `command`: `bytes` (> 0) from `address` (a multiple of the beat), rounded up to beats.

    `beats` come out in order of the commands with the command's `tag`; `last` marks the last beat of a command.
    Up to `outstanding` bursts of up to `max_burst` beats are under way; addresses are issued regardless of whether the
    consumer is ready, so a consumer that stalls holds up the bus. One ID only.
    `abort` (level, to be held until `idle`): takes no command, drops the one in work, discards all beats; an address
    already on the bus stays until it is taken. `idle`: no command in work, nothing outstanding, no beat waiting.
    Beats that nobody asked for (no address taken waits for any) are swallowed in every state: they come after a reset,
    and as long as they do no address is issued, nor for CALM_CYCLES after one.
    `error`: pulse per beat with a response other than OKAY, not after that beat appears; `error_slave` with it: SLVERR,
    else DECERR. The beat itself is passed on. Another `error` two cycles after a beat: `r.last` is not where the burst
    ends. `bytes` counts beats that were asked for, saturating; `clear` zeroes it.
    """

    def __init__(
        self, *, data_bits: int, outstanding: int = OUTSTANDING, max_burst: int = 64, tag_bits: int = 2
    ) -> None:
        self.data_bits, self.outstanding, self.max_burst, self.tag_bits = data_bits, outstanding, max_burst, tag_bits
        super().__init__(
            _status_ports()
            | {
                "command": In(command(tag=tag_bits)),
                "ar": Out(address_channel()),
                "r": In(read_channel(data_bits)),
                "beats": Out(stream.Signature(data.StructLayout({"data": data_bits, "last": 1, "tag": tag_bits}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = BurstSplitter(
            data_bits=self.data_bits, max_burst=self.max_burst, tag_bits=self.tag_bits
        )
        length_bits = max(1, exact_log2(bursts.max_beats))
        m.submodules.pending = pending = ShiftQueue(width=length_bits + 1 + self.tag_bits, depth=self.outstanding)
        m.submodules.slice = beats = Skid(width=self.data_bits + 1 + self.tag_bits)
        address = Signal(ADDRESS_BITS, reset_less=True)
        length = Signal(8, reset_less=True)
        beat_bytes = self.data_bits // 8
        calm = Signal(init=1)
        m.d.comb += [
            bursts.stop.eq(self.abort),
            bursts.cmd_valid.eq(self.command.valid),
            self.command.ready.eq(bursts.cmd_ready),
            bursts.cmd_address.eq(self.command.payload.address),
            bursts.cmd_bytes.eq(self.command.payload.bytes),
            bursts.ready.eq(~self.ar.valid & ~pending.full & calm),
            self.ar.addr.eq(address),
            self.ar.len.eq(length),
            self.ar.size.eq(exact_log2(beat_bytes)),
            self.ar.burst.eq(INCR),
        ]
        issue = Signal()
        m.d.comb += issue.eq(bursts.valid & bursts.ready)
        # An address every other cycle, so that `ar.ready` reaches one register only: bursts are longer.
        with m.If(~self.ar.valid):
            m.d.sync += [self.ar.valid.eq(issue), address.eq(bursts.address), length.eq(bursts.length)]
        with m.Elif(self.ar.ready):
            m.d.sync += self.ar.valid.eq(0)

        step = Signal()
        expected, final, tag = pending.head[:length_bits], pending.head[length_bits], pending.head[length_bits + 1 :]
        owed = _more(m, self.ar.valid & self.ar.ready, pending.pop, self.outstanding, "owed")
        m.d.comb += [
            pending.push.eq(issue),
            # a tag of no bits is cut off here
            pending.data.eq(Cat(bursts.length[:length_bits], bursts.final, bursts.tag)),
            pending.pop.eq(step & self.r.last),
            self.r.ready.eq(beats.in_ready | self.abort | ~owed),
            step.eq(self.r.valid & owed & (beats.in_ready | self.abort)),
            beats.clear.eq(self.abort),
            beats.in_valid.eq(self.r.valid & owed),
            beats.in_data.eq(Cat(self.r.data, self.r.last & final, tag)),
            self.beats.valid.eq(beats.out_valid),
            beats.out_ready.eq(self.beats.ready),
            self.beats.payload.eq(beats.out_data),
            self.idle.eq(~bursts.busy & ~pending.some & ~beats.out_valid),
        ]
        if self.tag_bits:
            m.d.comb += bursts.cmd_tag.eq(self.command.payload.tag)
        beat, misplaced = Signal(length_bits), Signal()
        with m.If(step):
            m.d.sync += beat.eq(Mux(self.r.last, 0, beat + 1))
        m.d.sync += [
            misplaced.eq(step & (self.r.last != (beat == expected))),
            self.error.eq((step & (self.r.resp != 0)) | misplaced),
            self.error_slave.eq(self.r.resp == SLVERR),
        ]
        unrest = Signal(range(CALM_CYCLES))
        m.d.sync += [calm.eq(unrest == 0), unrest.eq(Mux(unrest == 0, 0, unrest - 1))]
        with m.If(self.r.valid & ~owed):
            m.d.sync += [calm.eq(0), unrest.eq(CALM_CYCLES - 1)]
        _byte_counter(m, self.bytes, step=step, beat_bytes=beat_bytes, clear=self.clear)
        return m


class AxiWriter(wiring.Component):
    """Write channels. `command` as for `AxiReader`; `beats` brings exactly ceil(bytes / beat) for it, with strobes.

    Bursts are announced before their data is there; the data bus waits for it. Up to `outstanding` bursts are
    without a response. `abort` (level, to be held until `idle`): takes no command and no beat, drops the command in
    work, finishes the announced bursts with zero strobes. `idle`: no command in work and all responses received.
    Responses that no complete burst waits for are swallowed: they come after a reset.
    `error`: pulse per response other than OKAY; `error_slave`: SLVERR, else DECERR. `bytes` counts beats on the bus
    (whole beats whatever the strobes), saturating; `clear` zeroes it.
    """

    def __init__(self, *, data_bits: int, outstanding: int = OUTSTANDING, max_burst: int = 64) -> None:
        self.data_bits, self.outstanding, self.max_burst = data_bits, outstanding, max_burst
        super().__init__(
            _status_ports()
            | {
                "command": In(command()),
                "aw": Out(address_channel()),
                "w": Out(write_channel(data_bits)),
                "b": In(response_channel()),
                "beats": In(strobed_beats(data_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = BurstSplitter(data_bits=self.data_bits, max_burst=self.max_burst, tag_bits=0)
        m.submodules.announced = announced = ShiftQueue(width=8, depth=self.outstanding)
        beat_bytes = self.data_bits // 8
        m.submodules.slice = beats = Skid(width=self.data_bits + beat_bytes + 1)
        address = Signal(ADDRESS_BITS, reset_less=True)
        length = Signal(8, reset_less=True)
        unanswered = Signal(ceil_log2(self.outstanding + 1))
        m.d.comb += [
            bursts.stop.eq(self.abort),
            bursts.cmd_valid.eq(self.command.valid),
            self.command.ready.eq(bursts.cmd_ready),
            bursts.cmd_address.eq(self.command.payload.address),
            bursts.cmd_bytes.eq(self.command.payload.bytes),
            bursts.ready.eq(~self.aw.valid & (unanswered != self.outstanding)),
            self.aw.addr.eq(address),
            self.aw.len.eq(length),
            self.aw.size.eq(exact_log2(beat_bytes)),
            self.aw.burst.eq(INCR),
        ]
        issue, issued = Signal(), Signal()
        m.d.comb += issue.eq(bursts.valid & bursts.ready)
        # An address every other cycle, so that `aw.ready` reaches one register only: bursts are longer.
        with m.If(~self.aw.valid):
            m.d.sync += [self.aw.valid.eq(issue), address.eq(bursts.address), length.eq(bursts.length)]
        with m.Elif(self.aw.ready):
            m.d.sync += self.aw.valid.eq(0)
        m.d.sync += issued.eq(issue)
        # A response is for a burst of which the address and the last beat were taken.
        step, answered = Signal(), Signal()
        addressed = _more(m, self.aw.valid & self.aw.ready, answered, self.outstanding, "addressed")
        complete = _more(m, step & self.w.last, answered, self.outstanding, "complete")
        m.d.comb += [step.eq(self.w.valid & self.w.ready), answered.eq(self.b.valid & addressed & complete)]
        with m.If(issue & ~answered):
            m.d.sync += unanswered.eq(unanswered + 1)
        with m.Elif(answered & ~issue):
            m.d.sync += unanswered.eq(unanswered - 1)

        # The burst in work has left the queue: what it has to come, and if this beat is its last, is in registers.
        left = Signal(8, reset_less=True)
        open_burst, last = Signal(), Signal(reset_less=True)
        take, following = Signal(), Signal()
        offered = self.beats.payload
        m.d.comb += [
            announced.push.eq(issued),
            announced.data.eq(length),
            self.beats.ready.eq(open_burst & beats.in_ready & ~self.abort),
            beats.in_valid.eq(open_burst & (self.beats.valid | self.abort)),
            take.eq(beats.in_valid & beats.in_ready),
            following.eq(~open_burst | (take & last)),
            announced.pop.eq(following & announced.some),
            beats.in_data.eq(Cat(offered.data, offered.strb & (~self.abort).replicate(beat_bytes), last)),
            Cat(self.w.data, self.w.strb, self.w.last).eq(beats.out_data),
            self.w.valid.eq(beats.out_valid),
            beats.out_ready.eq(self.w.ready),
            self.b.ready.eq(1),
            self.idle.eq(~bursts.busy & (unanswered == 0)),
        ]
        with m.If(take):
            m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
        with m.If(following):
            m.d.sync += [open_burst.eq(announced.some), left.eq(announced.head), last.eq(announced.head == 0)]
        m.d.sync += [
            self.error.eq(answered & (self.b.resp != 0)),
            self.error_slave.eq(self.b.resp == SLVERR),
        ]
        _byte_counter(m, self.bytes, step=step, beat_bytes=beat_bytes, clear=self.clear)
        return m
