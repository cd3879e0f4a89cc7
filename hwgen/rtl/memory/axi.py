"""AXI4 masters: read and write channels that turn byte-range commands into bursts and beats."""

from __future__ import annotations

from amaranth import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.rtl.common.gearbox import ShiftQueue, Skid

__all__ = ["ADDRESS_BITS", "BYTES_BITS", "COUNTER_BITS", "AxiReader", "AxiWriter", "BurstSplitter", "incremented"]

ADDRESS_BITS = 64
BYTES_BITS = 32  #: of a command's length
COUNTER_BITS = 48  #: of a byte counter
PAGE = 4096  #: bytes no burst may cross
INCR = 1
SLVERR = 2


def incremented(value: Value, piece: int = 16) -> Value:
    """`value` + 1, wrapping, in pieces of so many bits that know by themselves whether a carry comes in.

    For addresses and counters so wide that one carry chain would be the longest path of all.
    """
    parts = [value[start : start + piece] for start in range(0, len(value), piece)]
    carries = [value[:start].all() for start in range(0, len(value), piece)]
    return Cat(Mux(carry, (part + 1)[: len(part)], part) for part, carry in zip(parts, carries, strict=True))


class BurstSplitter(wiring.Component):
    """Commands (`cmd_*`) → bursts: `address` in bytes, `length` = beats - 1, `tag`, `final` (last of the command).

    Bursts end at multiples of `max_burst` beats (at most 4 KiB), so no burst crosses 4 KiB and one comparison suffices.
    One burst per cycle, and a cycle between commands. `stop` (level) drops the command in work and takes no new one.
    `cmd_bytes` must not be 0; `cmd_address` must be a multiple of the beat (the low bits are ignored).
    """

    def __init__(self, *, data_bits: int, max_burst: int, tag_bits: int) -> None:
        if not 1 <= max_burst <= 256 or max_burst & (max_burst - 1):
            raise ValueError(f"max_burst must be a power of two from 1 to 256, not {max_burst!r}")
        self.beat_bytes = data_bits // 8
        self.max_beats = min(max_burst, PAGE // self.beat_bytes)
        super().__init__(
            {
                "stop": In(1),
                "cmd_valid": In(1),
                "cmd_ready": Out(1),
                "cmd_address": In(ADDRESS_BITS),
                "cmd_bytes": In(BYTES_BITS),
                "cmd_tag": In(max(tag_bits, 1)),  # no zero-width ports: they become [-1:0] in Verilog
                "busy": Out(1),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(ADDRESS_BITS),
                "length": Out(8),
                "tag": Out(max(tag_bits, 1)),
                "final": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = exact_log2(self.beat_bytes)
        low_bits = exact_log2(self.max_beats)
        beat_address = Signal(ADDRESS_BITS - shift, reset_less=True)
        # Beats from the boundary below `beat_address` to the end of the command: whole * max_beats + carry * max_beats
        # + rest. The carry of a command's low bits is used up as a burst of its own, so no sum is wider than they are.
        whole = Signal(BYTES_BITS - shift - low_bits, reset_less=True)
        carry, rest = Signal(reset_less=True), Signal(low_bits, reset_less=True)
        below = beat_address[:low_bits]
        low_bytes = Cat(C(-1, shift), self.cmd_address[shift : shift + low_bits]) + self.cmd_bytes[: shift + low_bits]
        m.d.comb += [
            self.final.eq(~whole[1:].any() & Mux(rest.any(), ~(whole[0] | carry), ~(whole[0] & carry))),
            self.valid.eq(self.busy & ~self.stop),
            self.address.eq(Cat(C(0, shift), beat_address)),
            # Modulo max_beats: up to the boundary, or to the end.
            self.length.eq((Mux(self.final, rest, 0) + ~below)[:low_bits]),
            self.cmd_ready.eq(~self.stop & ~self.busy),  # not in a command's last cycle: it is known late
        ]
        # `cmd_valid`, `stop` and `final` come late: they decide on `busy` alone, without which the rest has no meaning.
        with m.If(~self.busy):
            m.d.sync += [
                beat_address.eq(self.cmd_address[shift:]),
                Cat(rest, carry).eq(low_bytes[shift:]),
                whole.eq(self.cmd_bytes[shift + low_bits :]),
                self.tag.eq(self.cmd_tag),
                self.busy.eq(self.cmd_valid),
            ]
        with m.Elif(self.ready):
            m.d.sync += [
                beat_address.eq(Cat(C(0, low_bits), incremented(beat_address[low_bits:]))),
                carry.eq(0),
                self.busy.eq(~self.final),
            ]
            with m.If(~carry):
                m.d.sync += whole.eq(whole - 1)
        with m.If(self.stop):
            m.d.sync += self.busy.eq(0)
        return m


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


def _command_ports(tag_bits: int) -> dict[str, wiring.Member]:
    ports = {
        "cmd_valid": In(1),
        "cmd_ready": Out(1),
        "cmd_address": In(ADDRESS_BITS),
        "cmd_bytes": In(BYTES_BITS),
    }
    return ports | ({"cmd_tag": In(tag_bits)} if tag_bits else {})


def _address_ports(channel: str) -> dict[str, wiring.Member]:
    return {
        f"{channel}_valid": Out(1),
        f"{channel}_ready": In(1),
        f"{channel}_addr": Out(ADDRESS_BITS),
        f"{channel}_len": Out(8),
        f"{channel}_size": Out(3),
        f"{channel}_burst": Out(2),
    }


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
    """Read channels. Command: `cmd_bytes` (> 0) bytes from `cmd_address` (a multiple of the beat), rounded up to beats.

    Beats come out in order of the commands with the command's `out_tag`; `out_last` marks the last beat of a command.
    Up to `outstanding` bursts of up to `max_burst` beats are under way; addresses are issued regardless of whether the
    consumer is ready, so a consumer that stalls holds up the bus. One ID only.
    `abort` (level, to be held until `idle`): takes no command, drops the one in work, discards all beats; an address
    already on the bus stays until it is taken. `idle`: no command in work, nothing outstanding, no beat waiting.
    `error`: pulse per beat with a response other than OKAY, not after that beat appears; `error_slave` with it: SLVERR,
    else DECERR. The beat itself is passed on. `bytes` counts beats taken, saturating; `clear` zeroes it.
    """

    def __init__(self, *, data_bits: int, outstanding: int = 8, max_burst: int = 64, tag_bits: int = 2) -> None:
        self.data_bits, self.outstanding, self.max_burst, self.tag_bits = data_bits, outstanding, max_burst, tag_bits
        super().__init__(
            _command_ports(tag_bits)
            | _status_ports()
            | _address_ports("ar")
            | {
                "r_valid": In(1),
                "r_ready": Out(1),
                "r_data": In(data_bits),
                "r_resp": In(2),
                "r_last": In(1),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(data_bits),
                "out_last": Out(1),
            }
            | ({"out_tag": Out(tag_bits)} if tag_bits else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = BurstSplitter(
            data_bits=self.data_bits, max_burst=self.max_burst, tag_bits=self.tag_bits
        )
        m.submodules.pending = pending = ShiftQueue(width=self.tag_bits + 1, depth=self.outstanding)
        m.submodules.slice = beats = Skid(width=self.data_bits + 1 + self.tag_bits)
        address = Signal(ADDRESS_BITS, reset_less=True)
        length = Signal(8, reset_less=True)
        beat_bytes = self.data_bits // 8
        m.d.comb += [
            bursts.stop.eq(self.abort),
            bursts.cmd_valid.eq(self.cmd_valid),
            self.cmd_ready.eq(bursts.cmd_ready),
            bursts.cmd_address.eq(self.cmd_address),
            bursts.cmd_bytes.eq(self.cmd_bytes),
            bursts.ready.eq(~self.ar_valid & ~pending.full),
            self.ar_addr.eq(address),
            self.ar_len.eq(length),
            self.ar_size.eq(exact_log2(beat_bytes)),
            self.ar_burst.eq(INCR),
        ]
        issue = Signal()
        m.d.comb += issue.eq(bursts.valid & bursts.ready)
        # An address every other cycle, so that `ar_ready` reaches one register only: bursts are longer.
        with m.If(~self.ar_valid):
            m.d.sync += [self.ar_valid.eq(issue), address.eq(bursts.address), length.eq(bursts.length)]
        with m.Elif(self.ar_ready):
            m.d.sync += self.ar_valid.eq(0)

        step = Signal()
        final, tag = pending.head[0], pending.head[1:]
        m.d.comb += [
            pending.push.eq(issue),
            pending.data.eq(Cat(bursts.final, bursts.tag)),  # a tag of no bits is cut off here
            pending.pop.eq(step & self.r_last),
            self.r_ready.eq(beats.in_ready | self.abort),
            step.eq(self.r_valid & self.r_ready),
            beats.clear.eq(self.abort),
            beats.in_valid.eq(self.r_valid),
            beats.in_data.eq(Cat(self.r_data, self.r_last & final, tag)),
            self.out_valid.eq(beats.out_valid),
            beats.out_ready.eq(self.out_ready),
            self.out_data.eq(beats.out_data[: self.data_bits]),
            self.out_last.eq(beats.out_data[self.data_bits]),
            self.idle.eq(~bursts.busy & ~pending.some & ~beats.out_valid),
        ]
        if self.tag_bits:
            m.d.comb += [bursts.cmd_tag.eq(self.cmd_tag), self.out_tag.eq(beats.out_data[self.data_bits + 1 :])]
        m.d.sync += [self.error.eq(step & (self.r_resp != 0)), self.error_slave.eq(self.r_resp == SLVERR)]
        _byte_counter(m, self.bytes, step=step, beat_bytes=beat_bytes, clear=self.clear)
        return m


class AxiWriter(wiring.Component):
    """Write channels. Command as for `AxiReader`; `in_*` brings exactly ceil(bytes / beat) beats for it, with strobes.

    Bursts are announced before their data is there; the data bus waits for `in_valid`. Up to `outstanding` bursts are
    without a response. `abort` (level, to be held until `idle`): takes no command and no beat, drops the command in
    work, finishes the announced bursts with zero strobes. `idle`: no command in work and all responses received.
    `error`: pulse per response other than OKAY; `error_slave`: SLVERR, else DECERR. `bytes` counts beats on the bus
    (whole beats whatever the strobes), saturating; `clear` zeroes it.
    """

    def __init__(self, *, data_bits: int, outstanding: int = 8, max_burst: int = 64) -> None:
        self.data_bits, self.outstanding, self.max_burst = data_bits, outstanding, max_burst
        super().__init__(
            _command_ports(0)
            | _status_ports()
            | _address_ports("aw")
            | {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(data_bits),
                "in_strb": In(data_bits // 8),
                "w_valid": Out(1),
                "w_ready": In(1),
                "w_data": Out(data_bits),
                "w_strb": Out(data_bits // 8),
                "w_last": Out(1),
                "b_valid": In(1),
                "b_ready": Out(1),
                "b_resp": In(2),
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
            bursts.cmd_valid.eq(self.cmd_valid),
            self.cmd_ready.eq(bursts.cmd_ready),
            bursts.cmd_address.eq(self.cmd_address),
            bursts.cmd_bytes.eq(self.cmd_bytes),
            bursts.ready.eq(~self.aw_valid & (unanswered != self.outstanding)),
            self.aw_addr.eq(address),
            self.aw_len.eq(length),
            self.aw_size.eq(exact_log2(beat_bytes)),
            self.aw_burst.eq(INCR),
        ]
        issue, issued = Signal(), Signal()
        m.d.comb += issue.eq(bursts.valid & bursts.ready)
        # An address every other cycle, so that `aw_ready` reaches one register only: bursts are longer.
        with m.If(~self.aw_valid):
            m.d.sync += [self.aw_valid.eq(issue), address.eq(bursts.address), length.eq(bursts.length)]
        with m.Elif(self.aw_ready):
            m.d.sync += self.aw_valid.eq(0)
        m.d.sync += issued.eq(issue)
        with m.If(issue & ~self.b_valid):
            m.d.sync += unanswered.eq(unanswered + 1)
        with m.Elif(self.b_valid & ~issue):
            m.d.sync += unanswered.eq(unanswered - 1)

        # The burst in work has left the queue: what it has to come, and if this beat is its last, is in registers.
        left = Signal(8, reset_less=True)
        open_burst, last = Signal(), Signal(reset_less=True)
        take, following = Signal(), Signal()
        m.d.comb += [
            announced.push.eq(issued),
            announced.data.eq(length),
            self.in_ready.eq(open_burst & beats.in_ready & ~self.abort),
            beats.in_valid.eq(open_burst & (self.in_valid | self.abort)),
            take.eq(beats.in_valid & beats.in_ready),
            following.eq(~open_burst | (take & last)),
            announced.pop.eq(following & announced.some),
            beats.in_data.eq(Cat(self.in_data, self.in_strb & (~self.abort).replicate(beat_bytes), last)),
            Cat(self.w_data, self.w_strb, self.w_last).eq(beats.out_data),
            self.w_valid.eq(beats.out_valid),
            beats.out_ready.eq(self.w_ready),
            self.b_ready.eq(1),
            self.idle.eq(~bursts.busy & (unanswered == 0)),
        ]
        with m.If(take):
            m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
        with m.If(following):
            m.d.sync += [open_burst.eq(announced.some), left.eq(announced.head), last.eq(announced.head == 0)]
        m.d.sync += [
            self.error.eq(self.b_valid & (self.b_resp != 0)),
            self.error_slave.eq(self.b_resp == SLVERR),
        ]
        step = Signal()
        m.d.comb += step.eq(self.w_valid & self.w_ready)
        _byte_counter(m, self.bytes, step=step, beat_bytes=beat_bytes, clear=self.clear)
        return m
