"""Issuer: one array step per cycle, pass after pass."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.context import CONTEXT_BITS, CONTEXTS
from hwgen.rtl.common.decode import delayed
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.engine.hazards import HazardTimers
from hwgen.rtl.engine.plan import Pass, Planner
from hwgen.rtl.engine.queue import START
from hwgen.rtl.engine.step import Stepper
from hwgen.rtl.engine.unfinished import Unfinished
from hwgen.rtl.engine.walk import Walker

__all__ = ["Issuer", "tile_layout"]


def tile_layout(p: HwParams) -> data.StructLayout:
    """What the drain must know of a finished tile."""
    return data.StructLayout(
        {
            "kind": Pass,
            "context": CONTEXT_BITS,  # of the instruction
            "row_tile": p.row_bits,  # rows row_tile*T ... + T-1
            "word": 16,  # C-word of the destination; SCORE: C-word of keys
            "half": 1,  # half of the score buffer
            "first": 1,  # MATMUL: fresh parameters; SCORE: first word of keys; CONTEXT: row factors are not ready yet
        }
    )


class Issuer(wiring.Component):
    """Steps of MATMUL (output tile, row tile, k) and ATTENTION (scores of query tile i+1, then context of tile i).

    `start` takes an instruction with its number of `rows` (the row after the last; queue length for queue
    instructions), `fetched` (its weights come through the ring) and `number`; at most CONTEXTS may be unfinished.
    They run one behind the other without a pause, for the pipeline or the loops (`Planner`): an instruction's first
    step waits until `slack` says that it will meet the results of the one before. `unfinished` counts instructions
    whose results are not all written; `done` (with `done_number`) pulses `settle` cycles after an instruction's last
    step, when they are. `begin` (with `begin_number`) pulses in front of an instruction's first step.

    Operand addresses leave `lead - 2` cycles after the step's decision, score reads one, so that all operands reach
    the array `lead` cycles after it, together with `step_*`, `kind` and, on `step_last`, `tile`. The parameters of an
    output tile are read beside the weights of its first row tile, `param_words` of which have one: word n - 1 - s in
    step s, an odd number of words in front of the step's own. Steps that end a tile are at least T cycles apart, so the
    drain needs no back-pressure. Nothing but missing ring words makes the issuer wait for another unit.

    Its parts stand one behind the other: `Planner` makes passes of instructions, `Stepper` decides step by step, held
    back by the `HazardTimers`, `Walker` knows a cycle later where the step is; from there addresses go to the buffers
    and flags to the array.
    """

    def __init__(self, p: HwParams, *, lead: int, score_settle: int, settle: int) -> None:
        self.p = p
        self.lead, self.score_settle, self.settle = lead, score_settle, settle
        if settle >= 255:
            raise ValueError(f"settle must be below 255, the `slack` of independent instructions, not {settle}")
        self.level = ceil_log2(p.weight_depth + 1)
        part = select_bits(p.word // p.k)
        super().__init__(
            START
            | {
                "unfinished": Out(range(CONTEXTS + 1)),
                "begin": Out(1),
                "begin_number": Out(16),
                "done": Out(1),
                "done_number": Out(16),
                # weight ring
                "ring_written": In(1),
                "ring_en": Out(1),
                "ring_index": Out(self.level),
                "ring_param_en": Out(1),
                "ring_param_index": Out(self.level),
                "ring_pop": Out(1),
                "ring_pop_count": Out(self.level),
                "discarded": Out(self.level + 1),
                # operand buffers
                "y_en": Out(1),
                "h_en": Out(1),
                "a_addr": Out(16),
                "a_sub": Out(part),
                "k_en": Out(1),
                "k_addr": Out(16),
                "k_sub": Out(part),
                "v_en": Out(1),
                "v_addr": Out(16),
                # score buffer
                "s_en": Out(1),
                "s_half": Out(1),
                "s_step": Out(16),
                "s_keys": Out(16),
                "s_begin": Out(select_bits(p.word)),
                "s_sum": Out(1),
                "s_first": Out(1),
                "s_last": Out(1),
                # aligned with the operands at the array
                "step_valid": Out(1),
                "step_first": Out(1),
                "step_last": Out(1),
                "kind": Out(Pass),
                "from_h": Out(1),
                "tile": Out(tile_layout(p)),
                "param_en": Out(1),
                "param_index": Out(select_bits(p.param_words)),
                # exactly one of them while there is an instruction, for the performance counters
                "step": Out(1),
                "starved": Out(1),
                "stall_drain": Out(1),
                "stall_pipeline": Out(1),
                "stall_issue": Out(1),
                "attention_step": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, settle = self.p, self.settle
        m.submodules.plan = plan = Planner(p, settle=settle)
        m.submodules.stepper = stepper = Stepper(p, settle=settle)
        m.submodules.hazards = hazards = HazardTimers(p, score_settle=self.score_settle, settle=settle)
        m.submodules.walker = walker = Walker(p, settle=settle)
        m.submodules.instructions = instructions = Unfinished(settle=settle)
        for name in (*START, "ring_written"):
            m.d.comb += getattr(plan, name).eq(getattr(self, name))
        for part in (hazards, walker):
            for name, member in part.signature.members.items():
                if member.flow == In:
                    m.d.comb += getattr(part, name).eq(getattr(stepper, name))
        m.d.comb += [
            stepper.pass_valid.eq(plan.pass_valid),
            stepper.pass_data.eq(plan.pass_data),
            plan.pass_ready.eq(stepper.pass_ready),
            stepper.crowded.eq(hazards.crowded),
            stepper.there.eq(hazards.there),
            plan.quiet.eq(~stepper.waiting & ~stepper.active & ~walker.step & ~walker.loaded),
            self.begin.eq((walker.loaded & stepper.following.begins) | plan.skip_begin),
            self.begin_number.eq(Mux(walker.loaded, stepper.following.number, plan.skip_number)),
            instructions.start.eq(self.start),
            instructions.ended.eq(stepper.ended),
            instructions.number.eq(walker.at.number),
            instructions.skip_end.eq(plan.skip_end),
            instructions.skip_number.eq(plan.skip_number),
            self.unfinished.eq(instructions.unfinished),
            self.done.eq(instructions.done),
            self.done_number.eq(instructions.done_number),
        ]
        self._causes(m, plan, stepper, instructions.present)
        self._operands(m, plan, walker)
        self._scores(m, walker)
        self._at_array(m, walker)
        return m

    def _causes(self, m: Module, plan: Planner, stepper: Stepper, present: Value) -> None:
        """What a cycle is spent with."""
        idle = ~stepper.active
        m.d.comb += [
            self.step.eq(stepper.stepping),
            self.attention_step.eq(stepper.stepping & (stepper.kind != Pass.MATMUL)),
            self.stall_drain.eq(stepper.active & ~stepper.stepping),
            self.stall_pipeline.eq(idle & stepper.waiting & ~stepper.may_load),
            self.starved.eq(idle & ~stepper.waiting & plan.starving),
            self.stall_issue.eq(present & ~(self.step | self.stall_drain | self.stall_pipeline | self.starved)),
            self.discarded.eq(plan.discarded),
        ]

    def _operands(self, m: Module, plan: Planner, walker: Walker) -> None:
        """Addresses of what a step reads, and what it takes out of the ring."""
        at, step, inner, kind = walker.at, walker.step, walker.inner, walker.at.kind
        part = ceil_log2(self.p.word // self.p.k)

        def operand(target: Signal, value: Value, *, reset: bool = False) -> None:
            m.d.comb += target.eq(delayed(m, value, self.lead - 3, reset=reset))

        row_operand = step & (kind != Pass.CONTEXT)
        operand(self.y_en, row_operand & ~at.from_h, reset=True)
        operand(self.h_en, row_operand & at.from_h, reset=True)
        operand(self.a_addr, (at.a_row + (inner >> part))[:16])
        operand(self.a_sub, inner[:part])
        operand(self.k_en, step & (kind == Pass.SCORE), reset=True)
        operand(self.k_addr, (at.k_row + (inner >> part))[:16])
        operand(self.k_sub, inner[:part])
        operand(self.v_en, step & (kind == Pass.CONTEXT), reset=True)
        operand(self.v_addr, at.v_word)
        operand(self.ring_en, step & (kind == Pass.MATMUL), reset=True)
        operand(self.ring_index, at.ring + self.p.param_words + inner)
        operand(self.ring_param_en, walker.param, reset=True)
        operand(self.ring_param_index, at.ring + walker.param_index)
        operand(self.ring_pop, (walker.pass_ended & at.pop.any()) | plan.discard, reset=True)
        operand(self.ring_pop_count, Mux(plan.discard, plan.tile_words, at.pop))

    def _scores(self, m: Module, walker: Walker) -> None:
        at = walker.at
        m.d.comb += [
            self.s_en.eq(walker.context_step),
            self.s_half.eq(at.half),
            self.s_step.eq(walker.inner),
            self.s_begin.eq(at.key_begin),
            self.s_keys.eq(at.keys),
            self.s_sum.eq(walker.first_tile),
            self.s_first.eq(walker.inner == 0),
            self.s_last.eq(walker.last & walker.first_tile),
        ]

    def _at_array(self, m: Module, walker: Walker) -> None:
        """What goes along with the operands."""
        at, step, cycles = walker.at, walker.step, self.lead - 1
        tile = Signal(tile_layout(self.p))
        m.d.comb += [tile[name].eq(at[name]) for name in ("kind", "context", "row_tile", "word", "half")]
        m.d.comb += tile.first.eq(walker.first_tile)
        m.d.comb += [
            Cat(self.step_valid, self.step_last, self.param_en).eq(
                delayed(m, Cat(step, step & walker.last, walker.param), cycles, reset=True)
            ),
            self.step_first.eq(delayed(m, walker.inner == 0, cycles)),
            self.kind.eq(delayed(m, at.kind, cycles)),
            self.from_h.eq(delayed(m, at.from_h, cycles)),
            self.tile.eq(delayed(m, tile.as_value(), cycles)),
            self.param_index.eq(delayed(m, walker.param_index, cycles)),
        ]
