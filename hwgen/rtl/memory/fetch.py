"""Instruction fetch: program words from DRAM into a queue, weight requests of queued instructions sent ahead."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import BY_NAME, BYTES, Op
from hwgen.machine.params import HwParams
from hwgen.rtl.common.address import ADDRESS_LATENCY, byte_address
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields

__all__ = ["InstructionFetch"]


class InstructionFetch(wiring.Component):
    """Reads instructions from `address` on (stable all the time), at most `limit` bytes, as long as the queue has room.

    Instructions leave by `out_*` (a stream). Each MATMUL with weights of its own also puts a request in a second
    queue, served at once, so weights are fetched while earlier instructions run: `weight_*` is the stream of (address,
    bytes, narrow, k_steps). An expert's weights are fetched on suspicion while a ROUTE in front of them is not done,
    after that only if its queue is not empty (`nonempty`); `decision_*` is a stream that tells, request by request, if
    they are.
    `exhausted`: all of `limit` has been handed out. A request outside the weights region is withheld with all behind
    it; the sequencer stops when it comes to its instruction. Returns to the initial state only by reset.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        super().__init__(
            {
                "start": In(1),
                "address": In(64),
                "limit": In(32),
                "cmd_valid": Out(1),
                "cmd_ready": In(1),
                "cmd_address": Out(64),
                "beat_valid": In(1),
                "beat_ready": Out(1),
                "beat_data": In(p.data_bus),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(INSTRUCTION_BITS),
                "exhausted": Out(1),
                "weights_base": In(64),
                "weights_size": In(32),
                "nonempty": In(p.max_experts),
                "route_done": In(1),
                "weight_valid": Out(1),
                "weight_ready": In(1),
                "weight_address": Out(64),
                "weight_bytes": Out(32),
                "weight_narrow": Out(1),
                "weight_k_steps": Out(BY_NAME["k_steps"].bits),
                "decision_valid": Out(1),
                "decision_ready": In(1),
                "decision_fetched": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        depth = p.instruction_queue
        # A buffered FIFO refuses a word while its last one moves to the output: with one place more it never does.
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=INSTRUCTION_BITS, depth=depth + 1)
        kind = data.StructLayout(
            {name: BY_NAME[name].bits for name in ("offset", "bytes", "narrow", "k_steps", "expert", "use_queue")}
            | {"route": 1}
        )
        m.submodules.requests = requests = fifo.SyncFIFOBuffered(width=kind.size, depth=depth + 1)
        # Never full: its entries belong to instructions in the queue or in front of the sequencer.
        m.submodules.decisions = decisions = fifo.SyncFIFOBuffered(width=1, depth=depth + 3)

        # Commands: one instruction each, only when both queues will have room for it.
        remaining, position = Signal(32), Signal(32)
        in_flight = Signal(range(depth + 1))
        started, ended = Signal(), Signal()  # what lies behind END belongs to another program
        arrived = Signal()
        room, pause = Signal(), Signal(range(ADDRESS_LATENCY + 2))
        accepted = self.cmd_valid & self.cmd_ready
        m.d.comb += [
            self.cmd_valid.eq(started & ~ended & (pause == 0) & room),
            self.cmd_address.eq(byte_address(m, self.address, position)),
        ]
        m.d.sync += [
            in_flight.eq(in_flight + accepted - arrived),
            room.eq((queue.level + in_flight < depth) & (requests.level + in_flight < depth) & (remaining[6:] != 0)),
            self.exhausted.eq(started & (remaining[6:] == 0) & (in_flight == 0) & (queue.level == 0) & (pause == 0)),
        ]
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        with m.If(self.start):
            m.d.sync += [remaining.eq(self.limit), started.eq(1)]
        with m.Elif(accepted):
            m.d.sync += [remaining.eq(remaining - BYTES), position.eq(position + BYTES)]
        with m.If(self.start | accepted):
            # until the next address and the room for it are known
            m.d.sync += pause.eq(ADDRESS_LATENCY + 1)

        # Beats into one instruction. Room was reserved, so beats are always taken.
        beats = INSTRUCTION_BITS // p.data_bus
        word = Signal(INSTRUCTION_BITS, reset_less=True)
        count = Signal(range(beats + 1))
        complete = Signal()
        m.d.comb += self.beat_ready.eq(1)
        m.d.sync += complete.eq(0)
        with m.If(self.beat_valid):
            m.d.sync += word.eq(Cat(word, self.beat_data)[p.data_bus :])
            m.d.sync += count.eq(count + 1)
            with m.If(count == beats - 1):
                m.d.sync += [count.eq(0), complete.eq(1)]
        f, asked = Fields(word), Signal(kind)
        m.d.comb += [asked[name].eq(getattr(f, name)) for name in kind.members if name != "route"]
        m.d.comb += asked.route.eq(f.op == Op.ROUTE)
        streams = (f.op == Op.MATMUL) & (f.bytes != 0)
        m.d.comb += [
            arrived.eq(complete),
            queue.w_en.eq(complete & ~ended),
            queue.w_data.eq(word),
            requests.w_en.eq(complete & ~ended & (streams | asked.route)),
            requests.w_data.eq(asked),
            self.out_valid.eq(queue.r_rdy),
            self.out_data.eq(queue.r_data),
            queue.r_en.eq(self.out_ready & queue.r_rdy),
        ]

        with m.If(complete & (f.op == Op.END)):
            m.d.sync += ended.eq(1)

        # Weight requests, in order.
        request = data.View(kind, requests.r_data)
        routing = Signal(range(depth + CONTEXTS))  # ROUTEs passed here and not done
        pass_route, chosen = Signal(), Signal()
        m.d.sync += routing.eq(routing + pass_route - self.route_done)
        # The queues of a ROUTE stay as they are until all requests behind it are served: its experts run after that.
        has_tokens = self.nonempty.bit_select(request.expert[: ceil_log2(p.max_experts)], 1)
        m.d.comb += chosen.eq(~request.use_queue | (routing != 0) | has_tokens)
        end = Signal(33)
        outside = Signal()
        weight_address = byte_address(m, self.weights_base, request.offset)
        m.d.sync += [
            end.eq(request.offset + request.bytes),
            outside.eq(end > self.weights_size),
        ]
        m.d.comb += [
            self.decision_valid.eq(decisions.r_rdy),
            self.decision_fetched.eq(decisions.r_data),
            decisions.r_en.eq(self.decision_ready & decisions.r_rdy),
            decisions.w_data.eq(chosen),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(requests.r_rdy):
                m.next = "ADD"
                with m.If(request.route):
                    m.d.comb += [pass_route.eq(1), requests.r_en.eq(1)]
                    m.next = "IDLE"
            with m.State("ADD"):
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "DECIDE"
            with m.State("DECIDE"), m.If(~outside):
                m.d.comb += [requests.r_en.eq(1), decisions.w_en.eq(1)]
                m.next = "IDLE"
                with m.If(chosen):
                    m.d.sync += self.weight_valid.eq(1)
                    m.next = "COMMAND"
            with m.State("COMMAND"), m.If(self.weight_ready):
                m.d.sync += self.weight_valid.eq(0)
                m.next = "IDLE"
        with m.If(~self.weight_valid):  # not only when it is decided: that is known late
            m.d.sync += [
                self.weight_address.eq(weight_address),
                self.weight_bytes.eq(request.bytes),
                self.weight_narrow.eq(request.narrow),
                self.weight_k_steps.eq(request.k_steps),
            ]
        return m
