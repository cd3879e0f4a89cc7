"""Operand check: an instruction that could hang a unit or outgrow a buffer is refused before it starts."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hwgen.machine.isa import OPCODES, Dest, Op, Source, read_mask
from hwgen.machine.params import ALIGN, HwParams
from hwgen.machine.tables import ACTIVATION_ENTRIES
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields

__all__ = ["OperandCheck"]


def _register(m: Module, name: str, value: Value) -> Signal:
    """`value`, a cycle late."""
    result = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += result.eq(value)
    return result


class StrayBits(wiring.Component):
    """`stray`, a bit per opcode in the order of `Op`: `instruction` has bits set that this opcode does not read; some
    of them would mislead a unit. LATENCY cycles late. Bits with the same readers make one mask.
    """

    LATENCY = 2

    def __init__(self, p: HwParams) -> None:
        self.p = p
        super().__init__({"instruction": In(INSTRUCTION_BITS), "stray": Out(len(Op))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        masks: defaultdict[tuple[Op, ...], int] = defaultdict(int)
        for bit in range(INSTRUCTION_BITS):
            masks[tuple(op for op in Op if read_mask(op, self.p) >> bit & 1)] |= 1 << bit
        used = {
            readers: _register(m, f"used{number}", (self.instruction & mask).any())
            for number, (readers, mask) in enumerate(masks.items())
        }
        unread = {op: Cat(bits for readers, bits in used.items() if op not in readers).any() for op in Op}
        m.d.comb += self.stray.eq(Cat(_register(m, f"stray_{op.name}", bits) for op, bits in unread.items()))
        return m


class OperandCheck(wiring.Component):
    """`known`: the opcode exists. `legal`: its operands can be served, and `bytes` is what the unit will use.
    `words`: MATMUL's words in the weight ring, tiles * (parameter words + k_steps).

    All LATENCY cycles after `instruction`, which is held meanwhile.
    """

    LATENCY = 4
    WORDS_BITS = 33

    def __init__(self, p: HwParams) -> None:
        self.p = p
        super().__init__(
            {
                "instruction": In(INSTRUCTION_BITS),
                "known": Out(1),
                "legal": Out(1),
                "words": Out(self.WORDS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, Fields(self.instruction)
        m.submodules.strays = strays = StrayBits(p)
        m.d.comb += strays.instruction.eq(self.instruction)
        # As the instruction is held, facts of different stages may meet: only the path into each register counts.
        register = partial(_register, m)

        # Stage 1: comparisons with constants and of two fields, differences.
        is_op = {op: register(f"is_{op.name}", f.op == op) for op in Op}
        given = {
            name: register(f"has_{name}", getattr(f, name).any())
            for name in ("tiles", "k_steps", "bytes", "a_stride", "key_tiles", "pv_steps", "ring_offset")
        }
        tiles, steps = given["tiles"], given["k_steps"]
        # What the weight ring or the store takes: tiles * factor words.
        factor = register("factor", Mux(f.op == Op.STORE, f.row_end - f.row_begin, f.k_steps + p.param_words)[:17])
        load_depth = Mux(f.dest == Dest.NORM, 8 << ceil_log2(p.norm_depth), p.x_depth)
        # MATMUL's `bytes` in halves of a ring word: two for each word; of packed weights one, and as pairs of words are
        # packed (if a piece is a word) one for the missing half of an odd pair.
        half_bits = exact_log2(p.ring_bytes) - 1
        halves = f.bytes >> half_bits
        odd = Mux(f.k_steps[0], f.tiles, 0) if p.piece_bytes == p.ring_bytes else 0
        beside = register("beside", Mux(f.narrow, (f.tiles << exact_log2(p.param_words)) + odd, 0))  # not one per word
        in_words = register("in_words", ~(f.bytes & ((1 << half_bits) - 1)).any() & (f.narrow | ~halves[0]))
        activation = register("activation", (f.bytes == ACTIVATION_ENTRIES) & ~f.d_base.any())
        load_room = register("load_room", load_depth - f.d_base)
        ring_room = register("ring_room", p.weight_depth - f.ring_offset)
        rows = register("ordered", f.row_begin < f.row_end) & register("counted", f.row_end <= p.max_tokens)
        unaligned = f.offset & Mux(f.op == Op.MATMUL, p.weight_align - 1, ALIGN - 1)
        aligned = register("aligned", ~unaligned.any())
        queue = register("queue", f.use_queue & (f.expert < p.max_experts) & ~f.row_begin.any())
        norm_tiles = register("norm_tiles", f.tiles <= p.norm_depth)
        steps_suffice = register("steps_suffice", f.k_steps >= p.param_words)
        step_fits = register("step_fits", f.k_steps <= p.weight_depth - p.param_words)
        keys = p.word * -(-p.max_tokens // p.word)  # as many as the score buffer holds
        keys_fit = register("keys_fit", (f.key_tiles <= keys // p.c) & (f.pv_steps <= keys // p.k))
        experts_fit = register("experts_fit", (f.tiles <= p.max_experts) & (f.k_steps <= p.max_topk))
        winners_fit = register("winners_fit", f.k_steps <= f.tiles)

        # Stage 2
        m.d.sync += self.words.eq(f.tiles * factor)
        word_bits = ceil_log2(2 * p.c)
        whole = ~f.bytes[:word_bits].any()
        arriving = register("arriving", Mux(f.narrow, halves, halves >> 1) - beside)  # words of so many bytes
        load_fits = register("load_fits", whole & (f.bytes[word_bits:] <= load_room))

        # Stage 3: against the words of stage 2.
        stored = register("stored", self.words << word_bits == f.bytes)
        streamed = register("streamed", in_words & (self.words == arriving))
        kept_fits = register("kept_fits", self.words <= ring_room)

        once = given["bytes"] & ~f.keep
        loadable = ((f.dest == Dest.X) | (f.dest == Dest.NORM)) & given["bytes"] & load_fits
        conditions: dict[Op, Value | bool] = {
            Op.END: True,
            Op.LOAD: Mux(f.dest == Dest.ACTIVATION, activation, loadable),
            Op.IMAGE: tiles & steps & given["a_stride"] & given["bytes"],
            Op.NORM: rows & tiles & norm_tiles,
            Op.MATMUL: Mux(f.use_queue, queue & once, rows & ~f.scatter)
            & tiles
            & steps_suffice
            & (f.dest <= Dest.LOGITS)
            & (f.source <= Source.H)
            & (streamed | ~given["bytes"])
            & Mux(f.keep, kept_fits, step_fits & ~given["ring_offset"]),
            Op.ATTENTION: rows & tiles & steps & given["key_tiles"] & given["pv_steps"] & keys_fit,
            Op.ROUTE: rows & tiles & steps & experts_fit & winners_fit,
            Op.GATHER: tiles & queue,
            Op.MEAN: rows & tiles,
            Op.STORE: rows & tiles & stored & ((f.source == Source.X) | (f.source == Source.Y)),
        }
        assert conditions.keys() == OPCODES.keys()
        if p.gated_mlp:
            conditions[Op.MATMUL] &= register("gate_serves", self._gate_serves(f))
        # Stage 4
        legal = Cat(is_op[op] & conditions[op] & ~strays.stray[number] for number, op in enumerate(Op)).any() & aligned
        m.d.sync += [self.known.eq(Cat(is_op.values()).any()), self.legal.eq(legal)]
        return m

    @staticmethod
    def _gate_serves(f: Fields) -> Value:
        """Activations of rows of Y are gated, by what is in H."""
        return ~f.gated | f.activate & (f.dest == Dest.H) & (f.source == Source.Y) & ~f.use_queue
