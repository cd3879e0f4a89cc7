"""Instruction fetch: program words from DRAM into a queue, weight requests of queued instructions sent ahead."""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.machine.interfaces import numbered
from hwgen.machine.isa import BY_NAME, BYTES, Op
from hwgen.machine.params import HwParams
from hwgen.rtl.common.address import ADDRESS_LATENCY, byte_address
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields
from hwgen.rtl.memory.bursts import ADDRESS_BITS
from hwgen.rtl.memory.weights import weight_command

__all__ = ["InstructionFetch"]


class InstructionFetch(wiring.Component):
    """Reads instructions from `address` on (stable all the time), at most `limit` bytes, as long as the queue has room.

    `reads` are the addresses of single instructions, `beats` what comes of them. Instructions leave by `out`. Each
    MATMUL with weights of its own also puts a request in a second queue, served at once, so weights are fetched while
    earlier instructions run: `weights`. An expert's weights are fetched on suspicion while a ROUTE in front of them is
    not done, after that only if its queue is not empty (`nonempty`); `decisions` tells, request by request, if they
    are.
    `exhausted`: all of `limit` has been handed out. A request outside the weights region is withheld with all behind
    it; the sequencer stops when it comes to its instruction. Returns to the initial state only by reset.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        self.bases = [numbered("weights_base", port) for port in range(p.weight_ports)]
        super().__init__(
            {
                "start": In(1),
                "address": In(64),
                "limit": In(32),
                "reads": Out(stream.Signature(ADDRESS_BITS)),
                "beats": In(stream.Signature(p.data_bus)),
                "out": Out(stream.Signature(INSTRUCTION_BITS)),
                "exhausted": Out(1),
                "weights_size": In(32),
                "nonempty": In(p.max_experts),
                "route_done": In(1),
                "weights": Out(weight_command(p)),
                "decisions": Out(stream.Signature(1)),
            }
            | dict.fromkeys(self.bases, In(64))
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self.p.instruction_queue
        # A buffered FIFO refuses a word while its last one moves to the output: with one place more it never does.
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=INSTRUCTION_BITS, depth=depth + 1)
        kind = data.StructLayout(
            {name: BY_NAME[name].bits for name in ("offset", "bytes", "narrow", "k_steps", "expert", "use_queue")}
            | {"route": 1}
        )
        m.submodules.requests = requests = fifo.SyncFIFOBuffered(width=kind.size, depth=depth + 1)
        ended = Signal()  # what lies behind END belongs to another program
        complete, word = self._assemble(m)
        self._read(m, queue, requests, complete, ended)
        f, asked = Fields(word), Signal(kind)
        m.d.comb += [asked[name].eq(getattr(f, name)) for name in kind.members if name != "route"]
        m.d.comb += asked.route.eq(f.op == Op.ROUTE)
        streams = (f.op == Op.MATMUL) & (f.bytes != 0)
        m.d.comb += [
            queue.w_en.eq(complete & ~ended),
            queue.w_data.eq(word),
            requests.w_en.eq(complete & ~ended & (streams | asked.route)),
            requests.w_data.eq(asked),
            self.out.valid.eq(queue.r_rdy),
            self.out.payload.eq(queue.r_data),
            queue.r_en.eq(self.out.ready & queue.r_rdy),
        ]
        with m.If(complete & (f.op == Op.END)):
            m.d.sync += ended.eq(1)
        self._serve(m, requests, data.View(kind, requests.r_data))
        return m

    def _read(
        self, m: Module, queue: fifo.SyncFIFOBuffered, requests: fifo.SyncFIFOBuffered, arrived: Value, ended: Value
    ) -> None:
        """Commands: one instruction each, only when both queues will have room for it."""
        depth = self.p.instruction_queue
        remaining, position = Signal(32), Signal(32)
        in_flight = Signal(range(depth + 1))
        started, room, pause = Signal(), Signal(), Signal(range(ADDRESS_LATENCY + 2))
        accepted = self.reads.valid & self.reads.ready
        m.d.comb += [
            self.reads.valid.eq(started & ~ended & (pause == 0) & room),
            self.reads.payload.eq(byte_address(m, self.address, position)),
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

    def _assemble(self, m: Module) -> tuple[Signal, Signal]:
        """Beats → one instruction: (whether it is complete, its word). Room was reserved, so beats are always taken."""
        count = INSTRUCTION_BITS // self.p.data_bus
        word = Signal(INSTRUCTION_BITS, reset_less=True)
        beat = Signal(range(count + 1))
        complete = Signal()
        m.d.comb += self.beats.ready.eq(1)
        m.d.sync += complete.eq(0)
        with m.If(self.beats.valid):
            m.d.sync += word.eq(Cat(word, self.beats.payload)[self.p.data_bus :])
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == count - 1):
                m.d.sync += [beat.eq(0), complete.eq(1)]
        return complete, word

    def _serve(self, m: Module, requests: fifo.SyncFIFOBuffered, request: data.View) -> None:
        """Weight requests, in order."""
        depth = self.p.instruction_queue
        # Never full: its entries belong to instructions in the queue or in front of the sequencer.
        m.submodules.decisions = decisions = fifo.SyncFIFOBuffered(width=1, depth=depth + 3)
        routing = Signal(range(depth + CONTEXTS))  # ROUTEs passed here and not done
        pass_route, chosen = Signal(), Signal()
        m.d.sync += routing.eq(routing + pass_route - self.route_done)
        # The queues of a ROUTE stay as they are until all requests behind it are served: its experts run after that.
        has_tokens = self.nonempty.bit_select(request.expert[: ceil_log2(self.p.max_experts)], 1)
        m.d.comb += chosen.eq(~request.use_queue | (routing != 0) | has_tokens)
        end = Signal(33)
        outside = Signal()
        share = request.offset >> exact_log2(self.p.weight_ports)
        addresses = {
            numbered("address", port): byte_address(m, getattr(self, base), share)
            for port, base in enumerate(self.bases)
        }
        m.d.sync += [
            end.eq(request.offset + request.bytes),
            outside.eq(end > self.weights_size),
        ]
        m.d.comb += [
            self.decisions.valid.eq(decisions.r_rdy),
            self.decisions.payload.eq(decisions.r_data),
            decisions.r_en.eq(self.decisions.ready & decisions.r_rdy),
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
                    m.d.sync += self.weights.valid.eq(1)
                    m.next = "COMMAND"
            with m.State("COMMAND"), m.If(self.weights.ready):
                m.d.sync += self.weights.valid.eq(0)
                m.next = "IDLE"
        asked = self.weights.payload
        with m.If(~self.weights.valid):  # not only when it is decided: that is known late
            m.d.sync += [asked[name].eq(address) for name, address in addresses.items()]
            m.d.sync += asked.bytes.eq(request.bytes)
            m.d.sync += [asked.narrow.eq(request.narrow), asked.k_steps.eq(request.k_steps)]
