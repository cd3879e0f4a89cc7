"""Datapath: the buffers, the array with its surroundings, and the units that fill and read the buffers.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import BY_NAME, Dest, Source
from hwgen.machine.params import HwParams
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields, delayed
from hwgen.rtl.common.ports import OPERAND_BITS, bundled, shared, strobed_beats, word_read, word_write
from hwgen.rtl.common.ram import Ram
from hwgen.rtl.common.replica import reset_apart
from hwgen.rtl.common.rowbuffer import RowBuffer
from hwgen.rtl.control.sequencer import PORTS
from hwgen.rtl.engine.array import PACKED, ComputeArray
from hwgen.rtl.engine.drain import Drain
from hwgen.rtl.engine.issue import Issuer
from hwgen.rtl.engine.plan import Pass
from hwgen.rtl.engine.postprocess import PostProcess
from hwgen.rtl.engine.softmax import Softmax
from hwgen.rtl.engine.timing import engine_timing
from hwgen.rtl.engine.writeback import WriteBack
from hwgen.rtl.memory.weights import ring_read
from hwgen.rtl.units.image import ImageLoader
from hwgen.rtl.units.load import Load
from hwgen.rtl.units.mover import Mover
from hwgen.rtl.units.norm import Norm
from hwgen.rtl.units.router import Router
from hwgen.rtl.units.store import StoreUnit

__all__ = ["DISPATCH", "Datapath", "engine_report"]

#: An instruction and whom it starts; `Out` is the sequencer.
DISPATCH = wiring.Signature(
    {"instruction": Out(INSTRUCTION_BITS), "rows": Out(16), "fetched": Out(1), "number": Out(16)}
    | {f"{port}_start": Out(1) for port in PORTS}
    | {f"{port}_done": In(1) for port in PORTS}
)

#: Command inputs of the units (all but the engine) that are not named like their instruction field.
_ALIASES: dict[str, dict[str, str]] = {
    "norm": {"shift": "norm_shift", "half": "table"},
    "router": {"experts": "tiles", "topk": "k_steps"},
    "mover": {"mult": "out_mult", "shift": "out_shift"},
    "image": {"segment": "k_steps", "patches": "tiles", "patch_height": "a_stride"},
    "load": {},
    "store": {},
}


def engine_report(p: HwParams) -> wiring.Signature:
    """What the issuer tells of the engine."""
    members = {"unfinished": Out(range(CONTEXTS + 1)), "discarded": Out(ceil_log2(p.weight_depth + 1) + 1)}
    members |= {"begin": Out(1), "begin_number": Out(16), "done_number": Out(16), "attention_step": Out(1)}
    # one of them in every cycle in which the engine has an instruction
    causes = ("step", "starved", "stall_drain", "stall_pipeline", "stall_issue")
    return wiring.Signature(members | {cause: Out(1) for cause in causes})


class Datapath(wiring.Component):
    """Everything between the weight ring and the data beats.

    A `*_start` pulse of `dispatch` comes with `instruction` (and `rows`, `fetched`, `number`), which need not stay;
    `*_done` when its writes have been made. Units work side by side: the program's ORDER fields see to it that none
    reads what is not written, and the engine goes first where a unit wants the same port of a buffer.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        super().__init__(
            {
                "dispatch": In(DISPATCH),
                "engine": Out(engine_report(p)),
                "queue_length": Out(p.row_bits),
                "nonempty": Out(p.max_experts),
                "kv_read": Out(1),
                "ring": Out(ring_read(p)),
                "image_beats": In(stream.Signature(p.data_bus)),
                "load_beats": In(stream.Signature(p.data_bus)),
                "store_beats": Out(strobed_beats(p.data_bus)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._units(m)
        self._engine(m)
        self._commands(m)
        self._operands(m)
        self._results(m)
        self._row_buffers(m)
        self._residual(m)
        self._queues(m)
        return m

    def _units(self, m: Module) -> None:
        p = self.p
        timing = engine_timing(p)
        self.y = RowBuffer(banks=p.t, lanes=p.c, k=p.k, depth=p.y_depth, elem=OPERAND_BITS)
        self.h = RowBuffer(banks=p.t, lanes=p.c, k=p.k, depth=p.h_depth, elem=OPERAND_BITS)
        self.keys = RowBuffer(banks=p.c, lanes=p.c, k=p.k, depth=p.k_depth)
        self.values = RowBuffer(banks=p.k, lanes=p.c, k=p.c, depth=p.v_depth)
        self.x = Ram(width=16 * p.c, depth=p.x_depth)
        self.softmax = Softmax(t=p.t, c=p.c, k=p.k, keys=p.max_tokens)
        self.array = ComputeArray(t=p.t, c=p.c, k=p.k, packed=p.multiplier_bits >= PACKED)
        self.issue = Issuer(p, lead=timing.lead, score_settle=timing.score_settle, settle=timing.settle)
        self.drain = Drain(p, hold=timing.hold)
        self.post = PostProcess(c=p.c, gated=p.gated_mlp)
        self.write = WriteBack(
            p, latency=PostProcess.LATENCY, h_notice=Mover.WRITE_LATENCY, gate=PostProcess.UP if p.gated_mlp else 0
        )
        self.norm, self.router, self.mover = Norm(p), Router(p), Mover(p)
        self.image, self.load, self.store = ImageLoader(p), Load(p), StoreUnit(p)
        for name in (
            "y", "h", "keys", "values", "x", "softmax", "array", "issue", "drain", "post", "write", "norm", "router",
            "mover", "image", "load", "store",
        ):  # fmt: skip
            reset_apart(m, name, getattr(self, name))

    def _engine(self, m: Module) -> None:
        issue, dispatch, ring = self.issue, self.dispatch, self.ring
        for unit in (issue, self.drain):
            m.d.comb += [
                unit.start.eq(dispatch.engine_start),
                unit.instruction.eq(dispatch.instruction),
                unit.rows.eq(dispatch.rows),
            ]
        m.d.comb += [
            issue.fetched.eq(dispatch.fetched),
            issue.number.eq(dispatch.number),
            dispatch.engine_done.eq(issue.done),
            issue.ring_written.eq(ring.written),
            self.kv_read.eq(issue.k_en | issue.v_en),
        ]
        for name in ("en", "index", "param_en", "param_index", "pop", "pop_count"):
            m.d.comb += getattr(ring, name).eq(getattr(issue, f"ring_{name}"))
        wiring.connect(m, bundled(issue, engine_report(self.p)), wiring.flipped(self.engine))

    def _commands(self, m: Module) -> None:
        """Instructions of all units but the engine, kept until the next one; a unit starts a cycle after its pulse."""
        dispatch = self.dispatch
        fields: dict[str, Fields] = {}
        for port, aliases in _ALIASES.items():
            unit, start = getattr(self, port), getattr(dispatch, f"{port}_start")
            held = Signal(INSTRUCTION_BITS, name=f"{port}_instruction", reset_less=True)
            with m.If(start):
                m.d.sync += held.eq(dispatch.instruction)
            m.d.sync += unit.start.eq(start)
            m.d.comb += getattr(dispatch, f"{port}_done").eq(unit.done)
            fields[port] = Fields(held)
            for name, member in unit.signature.members.items():
                field = aliases.get(name, name)
                if member.is_port and member.flow == In and field in BY_NAME:
                    m.d.comb += getattr(unit, name).eq(getattr(fields[port], field))
        with m.If(dispatch.mover_start):
            m.d.sync += self.mover.count.eq(dispatch.rows)
        m.d.comb += [
            self.norm.eps.eq(Cat(fields["norm"].eps_low, fields["norm"].eps_high)),
            self.mover.mean.eq(~fields["mover"].use_queue),
            self.load.to_norm.eq(fields["load"].dest == Dest.NORM),
            self.load.to_activation.eq(fields["load"].dest == Dest.ACTIVATION),
            self.store.from_y.eq(fields["store"].source == Source.Y),
        ]
        for unit, beats in (
            (self.image, self.image_beats),
            (self.load, self.load_beats),
            (self.store, self.store_beats),
        ):
            wiring.connect(m, unit.beats, wiring.flipped(beats))

    def _operands(self, m: Module) -> None:
        """Array inputs: rows of Y or H or probabilities on side A; weights, keys or values on side B."""
        p, issue = self.p, self.issue
        for buffer, name, address in (
            (self.y, "y", "a"),
            (self.h, "h", "a"),
            (self.keys, "k", "k"),
            (self.values, "v", "v"),
        ):
            m.d.comb += buffer.operands.en.eq(getattr(issue, f"{name}_en"))
            m.d.comb += buffer.operands.addr.eq(getattr(issue, f"{address}_addr"))
            if buffer is not self.values:
                m.d.comb += buffer.operands.sub.eq(getattr(issue, f"{address}_sub"))
        for name in self.softmax.read.signature.members:
            m.d.comb += getattr(self.softmax.read, name).eq(getattr(issue, f"s_{name}"))
        probabilities = Cat(*(Cat(self.softmax.a.word_select(i, 8), Const(0, 1)) for i in range(p.t * p.k)))
        rows = Mux(issue.from_h, self.h.operands.data, self.y.operands.data)
        # V comes lane by lane: K tokens of C channels.
        values = [self.values.operands.data[8 * (lane * p.c + c) :][:8] for c in range(p.c) for lane in range(p.k)]
        b = Signal(p.ring_bytes * 8)
        with m.Switch(issue.kind):
            with m.Case(Pass.MATMUL):
                m.d.comb += b.eq(self.ring.data)
            with m.Case(Pass.SCORE):
                m.d.comb += b.eq(self.keys.operands.data)
            with m.Case(Pass.CONTEXT):
                m.d.comb += b.eq(Cat(*values))
        m.d.comb += [
            self.array.valid.eq(issue.step_valid),
            self.array.first.eq(issue.step_first),
            self.array.last.eq(issue.step_last),
            self.array.a.eq(Mux(issue.kind == Pass.CONTEXT, probabilities, rows)),
            self.array.b.eq(b),
        ]

    def _results(self, m: Module) -> None:
        """Array → drain → post-processing → write back."""
        drain, write = self.drain, self.write
        m.d.comb += [
            drain.capturing.eq(self.array.capturing),
            drain.tile.eq(delayed(m, self.issue.tile.as_value(), ComputeArray.LATENCY)),
            drain.acc.eq(self.array.row),
            self.array.shift.eq(drain.shift_rows),
            drain.param_en.eq(self.issue.param_en),
            drain.param_index.eq(self.issue.param_index),
            drain.param_data.eq(self.ring.param_data),
            write.value.eq(self.post.out),
        ]
        wiring.connect(m, drain.factors, self.softmax.factors)
        wiring.connect(m, drain.post, self.post.row)
        wiring.connect(m, drain.out, write.rows)
        wiring.connect(m, write.scores, self.softmax.write)
        wiring.connect(m, write.logits, self.router.logits)

    def _row_buffers(self, m: Module) -> None:
        """Writers of Y, H, K, V; row readers of Y."""
        write = self.write
        shared(m, self.y.write, write.y, self.norm.y, self.image.y)
        shared(m, self.h.write, write.h, self.mover.h)
        for buffer, port in ((self.keys, write.keys), (self.values, write.values)):
            int8 = bundled(port, port.signature)
            int8.data = Cat(*(port.data.word_select(lane, OPERAND_BITS)[:8] for lane in range(self.p.c)))
            shared(m, buffer.write, int8)
        shared(m, self.y.row, self.mover.y, self.store.y)
        if self.p.gated_mlp:
            shared(m, self.h.row, write.up)
            m.d.comb += self.post.up.eq(write.up.data)
        m.d.comb += self.mover.h_hold.eq(write.h_soon)

    def _residual(self, m: Module) -> None:
        """X: a read port with one more register (latency 2), a write port; the tables that LOAD fills."""
        x, write = self.x, self.write
        size = {"depth": x.depth, "width": x.width}
        reads = bundled(x, word_read(**size).flip(), "r_{}".format)
        reads.data = Signal(x.width, name="x_data", reset_less=True)
        m.d.sync += reads.data.eq(x.r_data)
        shared(m, reads, self.norm.x, self.store.x, write.x_read)
        shared(m, bundled(x, word_write(**size).flip(), "w_{}".format), self.load.x, write.x)
        wiring.connect(m, self.load.affine, self.norm.affine)
        wiring.connect(m, self.load.activation, self.post.table)
        m.d.comb += [
            self.norm.x_hold.eq(write.x_read_next),
            self.load.x_hold.eq(write.x_write_next),
            *([self.store.x_hold.eq(write.x_read_next)] if self.p.spill else []),
        ]

    def _queues(self, m: Module) -> None:
        """The router's queues are read by the drain (scatter) or, when it does not, by the mover (gather)."""
        router, drain, mover = self.router, self.drain, self.mover
        shared(m, router.queue, mover.queue, drain.queue)
        m.d.comb += [
            router.count_expert.eq(Fields(self.dispatch.instruction).expert),
            self.queue_length.eq(router.count),
            self.nonempty.eq(router.nonempty),
            mover.queue_ready.eq(~drain.queue.en),
        ]
