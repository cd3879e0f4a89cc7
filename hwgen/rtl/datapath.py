"""Datapath: the buffers, the array with its surroundings, and the units that fill and read the buffers.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.isa import BY_NAME, Dest, Source
from hwgen.machine.params import HwParams
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields, delayed
from hwgen.rtl.common.ram import Ram
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
from hwgen.rtl.units.image import ImageLoader
from hwgen.rtl.units.load import Load
from hwgen.rtl.units.mover import Mover
from hwgen.rtl.units.norm import Norm
from hwgen.rtl.units.router import Router
from hwgen.rtl.units.store import StoreUnit

__all__ = ["Datapath"]

#: Command inputs of the units (all but the engine) that are not named like their instruction field.
_ALIASES: dict[str, dict[str, str]] = {
    "norm": {"shift": "norm_shift"},
    "router": {"experts": "tiles", "topk": "k_steps"},
    "mover": {"mult": "out_mult", "shift": "out_shift"},
    "image": {"segment": "k_steps", "patches": "tiles", "patch_height": "a_stride"},
    "load": {},
    "store": {},
}


class Datapath(wiring.Component):
    """Everything between the weight ring and the data beats.

    A `*_start` pulse comes with `instruction` (and `rows`, `fetched`, `number`), which need not stay; `*_done` when its
    writes have been made. Units work side by side: the program's ORDER fields see to it that none reads what is not
    written, and the engine goes first where a unit wants the same port of a buffer.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        level = ceil_log2(p.weight_depth + 1)
        ports = {
            "instruction": In(INSTRUCTION_BITS),
            "rows": In(16),
            "fetched": In(1),
            "number": In(16),
            "unfinished": Out(range(CONTEXTS + 1)),
            "queue_length": Out(p.row_bits),
            "nonempty": Out(p.max_experts),
            "ring_written": In(1),
            "ring_en": Out(1),
            "ring_index": Out(level),
            "ring_data": In(p.ring_bytes * 8),
            "ring_param_en": Out(1),
            "ring_param_index": Out(level),
            "ring_param_data": In(p.ring_bytes * 8),
            "ring_pop": Out(1),
            "ring_pop_count": Out(level),
            "discarded": Out(level + 1),
            "store_valid": Out(1),
            "store_ready": In(1),
            "store_data": Out(p.data_bus),
            "store_strb": Out(p.data_bus // 8),
            "begin": Out(1),
            "begin_number": Out(16),
            "done_number": Out(16),
            # one of them in every cycle in which the engine has an instruction
            "step": Out(1),
            "starved": Out(1),
            "stall_drain": Out(1),
            "stall_pipeline": Out(1),
            "stall_issue": Out(1),
            "attention_step": Out(1),
            "kv_read": Out(1),
        }
        for unit in ("image", "load"):
            ports |= {f"{unit}_valid": In(1), f"{unit}_ready": Out(1), f"{unit}_data": In(p.data_bus)}
        for port in PORTS:
            ports |= {f"{port}_start": In(1), f"{port}_done": Out(1)}
        super().__init__(ports)

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
        self.y = RowBuffer(banks=p.t, lanes=p.c, k=p.k, depth=p.y_depth)
        self.h = RowBuffer(banks=p.t, lanes=p.c, k=p.k, depth=p.h_depth)
        self.keys = RowBuffer(banks=p.c, lanes=p.c, k=p.k, depth=p.k_depth)
        self.values = RowBuffer(banks=p.k, lanes=p.c, k=p.c, depth=p.v_depth)
        self.x = Ram(width=16 * p.c, depth=p.x_depth)
        self.softmax = Softmax(t=p.t, c=p.c, k=p.k, keys=p.max_tokens)
        self.array = ComputeArray(t=p.t, c=p.c, k=p.k, packed=p.multiplier_bits >= PACKED)
        self.issue = Issuer(p, lead=timing.lead, score_settle=timing.score_settle, settle=timing.settle)
        self.drain = Drain(p, hold=timing.hold)
        self.post = PostProcess(c=p.c)
        self.write = WriteBack(p, latency=PostProcess.LATENCY, h_notice=Mover.WRITE_LATENCY)
        self.norm, self.router, self.mover = Norm(p), Router(p), Mover(p)
        self.image, self.load, self.store = ImageLoader(p), Load(p), StoreUnit(p)
        for name in (
            "y", "h", "keys", "values", "x", "softmax", "array", "issue", "drain", "post", "write", "norm", "router",
            "mover", "image", "load", "store",
        ):  # fmt: skip
            m.submodules[name] = getattr(self, name)

    def _engine(self, m: Module) -> None:
        issue = self.issue
        for unit in (issue, self.drain):
            m.d.comb += [
                unit.start.eq(self.engine_start),
                unit.instruction.eq(self.instruction),
                unit.rows.eq(self.rows),
            ]
        m.d.comb += [
            issue.fetched.eq(self.fetched),
            issue.number.eq(self.number),
            issue.ring_written.eq(self.ring_written),
            self.engine_done.eq(issue.done),
            self.kv_read.eq(issue.k_en | issue.v_en),
        ]
        for name in ("unfinished", "ring_en", "ring_index", "ring_param_en", "ring_param_index", "ring_pop",
                     "ring_pop_count", "discarded", "begin", "begin_number", "done_number", "step", "starved",
                     "stall_drain", "stall_pipeline", "stall_issue", "attention_step"):  # fmt: skip
            m.d.comb += getattr(self, name).eq(getattr(issue, name))

    def _commands(self, m: Module) -> None:
        """Instructions of all units but the engine, kept until the next one; a unit starts a cycle after its pulse."""
        fields: dict[str, Fields] = {}
        for port, aliases in _ALIASES.items():
            unit, start = getattr(self, port), getattr(self, f"{port}_start")
            held = Signal(INSTRUCTION_BITS, name=f"{port}_instruction", reset_less=True)
            with m.If(start):
                m.d.sync += held.eq(self.instruction)
            m.d.sync += unit.start.eq(start)
            m.d.comb += getattr(self, f"{port}_done").eq(unit.done)
            fields[port] = Fields(held)
            for name, member in unit.signature.members.items():
                field = aliases.get(name, name)
                if member.flow == In and field in BY_NAME:
                    m.d.comb += getattr(unit, name).eq(getattr(fields[port], field))
        with m.If(self.mover_start):
            m.d.sync += self.mover.count.eq(self.rows)
        m.d.comb += [
            self.norm.eps.eq(Cat(fields["norm"].eps_low, fields["norm"].eps_high)),
            self.mover.mean.eq(~fields["mover"].use_queue),
            self.load.to_norm.eq(fields["load"].dest == Dest.NORM),
            self.store.from_y.eq(fields["store"].source == Source.Y),
        ]
        for name in ("image", "load"):
            unit = getattr(self, name)
            m.d.comb += [
                unit.beats.valid.eq(getattr(self, f"{name}_valid")),
                unit.beats.payload.eq(getattr(self, f"{name}_data")),
                getattr(self, f"{name}_ready").eq(unit.beats.ready),
            ]
        m.d.comb += [
            self.store_valid.eq(self.store.out_valid),
            self.store.out_ready.eq(self.store_ready),
            self.store_data.eq(self.store.out_data),
            self.store_strb.eq(self.store.out_strb),
        ]

    def _operands(self, m: Module) -> None:
        """Array inputs: rows of Y or H or probabilities on side A; weights, keys or values on side B."""
        p, issue = self.p, self.issue
        m.d.comb += [
            self.y.r_en.eq(issue.y_en),
            self.y.r_addr.eq(issue.a_addr),
            self.y.r_sub.eq(issue.a_sub),
            self.h.r_en.eq(issue.h_en),
            self.h.r_addr.eq(issue.a_addr),
            self.h.r_sub.eq(issue.a_sub),
            self.keys.r_en.eq(issue.k_en),
            self.keys.r_addr.eq(issue.k_addr),
            self.keys.r_sub.eq(issue.k_sub),
            self.values.r_en.eq(issue.v_en),
            self.values.r_addr.eq(issue.v_addr),
            self.softmax.r_en.eq(issue.s_en),
            self.softmax.r_half.eq(issue.s_half),
            self.softmax.r_step.eq(issue.s_step),
            self.softmax.r_begin.eq(issue.s_begin),
            self.softmax.r_keys.eq(issue.s_keys),
            self.softmax.r_sum.eq(issue.s_sum),
            self.softmax.r_first.eq(issue.s_first),
            self.softmax.r_last.eq(issue.s_last),
        ]
        a = Signal(p.t * p.k * 8)
        unsigned_a = Signal()
        with m.If(issue.kind == Pass.CONTEXT):
            m.d.comb += [a.eq(self.softmax.a), unsigned_a.eq(1)]
        with m.Else():
            m.d.comb += [a.eq(Mux(issue.from_h, self.h.r_data, self.y.r_data)), unsigned_a.eq(issue.a_unsigned)]
        lanes = [a[8 * i : 8 * i + 8] for i in range(p.t * p.k)]
        # V comes lane by lane: K tokens of C channels.
        values = [self.values.r_data[8 * (lane * p.c + c) :][:8] for c in range(p.c) for lane in range(p.k)]
        b = Signal(p.ring_bytes * 8)
        with m.Switch(issue.kind):
            with m.Case(Pass.MATMUL):
                m.d.comb += b.eq(self.ring_data)
            with m.Case(Pass.SCORE):
                m.d.comb += b.eq(self.keys.r_data)
            with m.Case(Pass.CONTEXT):
                m.d.comb += b.eq(Cat(*values))
        m.d.comb += [
            self.array.valid.eq(issue.step_valid),
            self.array.first.eq(issue.step_first),
            self.array.last.eq(issue.step_last),
            self.array.a.eq(Cat(*(Cat(lane, lane[7] & ~unsigned_a) for lane in lanes))),
            self.array.b.eq(b),
        ]

    def _results(self, m: Module) -> None:
        """Array → drain → post-processing → write back."""
        drain, post, write = self.drain, self.post, self.write
        m.d.comb += [
            drain.captured.eq(self.array.captured),
            drain.tile.eq(delayed(m, self.issue.tile.as_value(), ComputeArray.LATENCY)),
            drain.acc.eq(self.array.row),
            self.array.shift.eq(drain.shift_rows),
            drain.param_en.eq(self.issue.param_en),
            drain.param_index.eq(self.issue.param_index),
            drain.param_data.eq(self.ring_param_data),
            drain.softmax_factor.eq(self.softmax.factor),
            self.softmax.factor_row.eq(drain.factor_row),
            post.valid.eq(drain.out_valid),
            post.acc.eq(drain.out_acc),
            post.bias.eq(drain.bias),
            post.mult.eq(drain.mult),
            post.shift.eq(drain.shift),
            post.use_factor.eq(drain.use_factor),
            post.factor.eq(drain.factor),
            post.mode.eq(drain.mode),
            post.gelu_mult.eq(drain.gelu_mult),
            post.gelu_shift.eq(drain.gelu_shift),
            post.gelu_zero.eq(drain.gelu_zero),
            write.in_valid.eq(drain.out_valid),
            write.in_row.eq(drain.out_row),
            write.value.eq(post.out),
        ]
        m.d.comb += [
            self.softmax.w_en.eq(write.s_en),
            self.softmax.w_half.eq(write.s_half),
            self.softmax.w_row.eq(write.s_row),
            self.softmax.w_word.eq(write.s_word),
            self.softmax.w_data.eq(write.s_data),
            self.softmax.w_mask.eq(write.s_mask),
            self.softmax.w_first.eq(write.s_first),
            self.router.w_en.eq(write.logit_en),
            self.router.w_row.eq(write.row),
            self.router.w_word.eq(write.logit_word),
            self.router.w_data.eq(write.logit_data),
        ]

    def _row_buffers(self, m: Module) -> None:
        """Writers of Y, H, K, V; row readers of Y."""
        p, write = self.p, self.write
        destinations = ((self.y, write.y_en), (self.h, write.h_en), (self.keys, write.k_en), (self.values, write.v_en))
        for buffer, enable in destinations:
            m.d.comb += [
                buffer.w_en.eq(enable),
                buffer.w_bank.eq(write.row[: ceil_log2(buffer.banks)]),
                buffer.w_addr.eq(write.addr),
                buffer.w_data.eq(write.data),
                buffer.w_mask.eq(Const(1).replicate(p.c)),
            ]
            if buffer is not self.values:
                m.d.comb += buffer.w_sub.eq(write.sub)
        for buffer, unit, prefix, masked in (
            (self.y, self.norm, "y", False),
            (self.y, self.image, "y", True),
            (self.h, self.mover, "h", False),
        ):
            with m.If(getattr(unit, f"{prefix}_en")):
                m.d.comb += [
                    buffer.w_en.eq(1),
                    buffer.w_bank.eq(getattr(unit, f"{prefix}_bank")),
                    buffer.w_addr.eq(getattr(unit, f"{prefix}_addr")),
                    buffer.w_sub.eq(getattr(unit, f"{prefix}_sub")),
                    buffer.w_data.eq(getattr(unit, f"{prefix}_data")),
                ]
                if masked:
                    m.d.comb += buffer.w_mask.eq(getattr(unit, f"{prefix}_mask"))
        for unit in (self.mover, self.store):
            with m.If(unit.m_en):
                m.d.comb += [
                    self.y.m_en.eq(1),
                    self.y.m_bank.eq(unit.m_bank),
                    self.y.m_addr.eq(unit.m_addr),
                    self.y.m_sub.eq(unit.m_sub),
                ]
            m.d.comb += unit.m_data.eq(self.y.m_data)
        m.d.comb += self.mover.h_hold.eq(write.h_soon)

    def _residual(self, m: Module) -> None:
        """X: a read port with one more register (latency 2), a write port."""
        x, write = self.x, self.write
        data = Signal(x.width, reset_less=True)
        m.d.sync += data.eq(x.r_data)
        m.d.comb += write.x_read_data.eq(data)
        for enable, address in (
            (self.norm.x_en, self.norm.x_addr),
            (self.store.x_en, self.store.x_addr),
            (write.x_read, write.x_read_addr),
        ):
            with m.If(enable):
                m.d.comb += [x.r_en.eq(1), x.r_addr.eq(address)]
        m.d.comb += [
            self.norm.x_hold.eq(write.x_read_next),
            self.load.x_hold.eq(write.x_write_next),
            self.norm.x_data.eq(data),
            self.store.x_data.eq(data),
            self.norm.n_en.eq(self.load.n_en),
            self.norm.n_addr.eq(self.load.n_addr),
            self.norm.n_data.eq(self.load.n_data),
        ]
        for unit in (self.load, write):
            with m.If(unit.x_en):
                m.d.comb += [x.w_en.eq(1), x.w_addr.eq(unit.x_addr), x.w_data.eq(unit.x_data)]

    def _queues(self, m: Module) -> None:
        """The router's queues are read by the drain (scatter) or, when it does not, by the mover (gather)."""
        router, drain, mover = self.router, self.drain, self.mover
        m.d.comb += [
            router.count_expert.eq(Fields(self.instruction).expert),
            self.queue_length.eq(router.count),
            self.nonempty.eq(router.nonempty),
            router.q_en.eq(drain.q_en | mover.q_en),
            router.q_expert.eq(Mux(drain.q_en, drain.q_expert, mover.q_expert)),
            router.q_index.eq(Mux(drain.q_en, drain.q_index, mover.q_index)),
            mover.q_ready.eq(~drain.q_en),
            drain.q_token.eq(router.q_token),
            drain.q_weight.eq(router.q_weight),
            mover.q_token.eq(router.q_token),
        ]
