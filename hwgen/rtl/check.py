"""Operand check: an instruction that could hang a unit or outgrow a buffer is refused before it starts."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.isa import FIELDS, OPCODES, Dest, Op, Source
from hwgen.params import HwParams

from .decode import INSTRUCTION_BITS, Fields

__all__ = ["OperandCheck"]


class OperandCheck(wiring.Component):
    """`known`: the opcode exists. `legal`: its operands can be served, and `bytes` is what the unit will use.

    Both LATENCY cycles after `instruction`.
    """

    LATENCY = 2

    def __init__(self, p: HwParams) -> None:
        self.p = p
        super().__init__({"instruction": In(INSTRUCTION_BITS), "known": Out(1), "legal": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, Fields(self.instruction)
        op = f.op

        # What the weight stream or the store takes: tiles * factor words.
        factor, product = Signal(17), Signal(33)
        with m.Switch(op):
            with m.Case(Op.MATMUL):
                m.d.comb += factor.eq(f.k_steps + p.param_words)
            with m.Case(Op.STORE):
                m.d.comb += factor.eq(f.row_end - f.row_begin)
            with m.Default():
                m.d.comb += factor.eq(p.param_words)
        m.d.sync += product.eq(f.tiles * factor)
        stored = product << ceil_log2(2 * p.c)
        streamed = product << ceil_log2(p.ring_bytes)
        counted = Signal()
        with m.Switch(op):
            with m.Case(Op.MATMUL, Op.NORM):
                m.d.comb += counted.eq(streamed == f.bytes)
            with m.Case(Op.STORE):
                m.d.comb += counted.eq(stored == f.bytes)
            with m.Case(Op.IMAGE, Op.LOADX):
                m.d.comb += counted.eq(f.bytes != 0)
            with m.Default():
                m.d.comb += counted.eq(1)

        rows = (f.row_begin < f.row_end) & (f.row_end <= p.max_tokens)
        tiles, steps = f.tiles != 0, f.k_steps != 0
        queue = f.use_queue & (f.expert < p.max_experts) & (f.row_begin == 0)
        word_bits = ceil_log2(2 * p.c)
        conditions = {
            Op.END: True,
            Op.LOADX: (f.bytes[:word_bits] == 0) & (f.d_base + (f.bytes >> word_bits) <= p.x_depth),
            Op.IMAGE: tiles & steps & (f.a_stride != 0),
            Op.NORM: rows & tiles & (f.tiles <= p.norm_depth) & (f.tiles * p.param_words <= p.weight_depth),
            Op.MATMUL: Mux(f.use_queue, queue, rows & ~f.scatter)
            & tiles
            & steps
            & (f.k_steps + p.param_words <= p.weight_depth)
            & (f.dest <= max(Dest))
            & (f.source <= Source.H),
            Op.ATTENTION: rows & tiles & steps & (f.key_tiles != 0) & (f.pv_steps != 0) & (f.row_begin == 0),
            Op.ROUTE: rows
            & tiles
            & steps
            & (f.tiles <= p.max_experts)
            & (f.k_steps <= p.max_topk)
            & (f.k_steps <= f.tiles),
            Op.GATHER: tiles & queue,
            Op.MEAN: rows & tiles,
            Op.STORE: rows & tiles & (f.source != Source.H) & (f.source <= Source.X),
        }
        assert conditions.keys() == OPCODES.keys()
        # Fields an opcode does not read must be zero: some of them would mislead the sequencer or the drain.
        covered = {bit for field in FIELDS for bit in range(field.offset, field.offset + field.bits)}
        reserved = Cat(*(self.instruction[bit] for bit in range(len(self.instruction)) if bit not in covered))
        nonzero = {field.name: getattr(f, field.name) != 0 for field in FIELDS if field.name != "op"}
        aligned = f.offset[:6] == 0
        known, legal = Signal(), Signal()
        m.d.sync += [known.eq(0), legal.eq(0), self.known.eq(known), self.legal.eq(legal & counted)]
        with m.Switch(op):
            for opcode, condition in conditions.items():
                with m.Case(opcode):
                    stray = Cat(
                        reserved.any(), *(set_ for name, set_ in nonzero.items() if name not in OPCODES[opcode][1])
                    )
                    m.d.sync += [known.eq(1), legal.eq(condition & aligned & ~stray.any())]
        return m
