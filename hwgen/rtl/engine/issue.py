"""Issuer: one array step per cycle, pass after pass."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.context import CONTEXT_BITS, CONTEXTS
from hwgen.rtl.common.decode import delayed
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.engine.plan import START, Pass, Planner

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
                "a_unsigned": Out(1),
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
        m.submodules.plan = self.plan = Planner(self.p, settle=self.settle)
        for name in (*START, "ring_written"):
            m.d.comb += getattr(self.plan, name).eq(getattr(self, name))
        self._decide(m)
        self._walk(m)
        self._instructions(m)
        self._operands(m)
        return m

    def _decide(self, m: Module) -> None:
        """Whether there is a step in this cycle, and whether the next pass begins behind it. Loop ends are flags, one
        register ahead of the counts, and nothing but counts is changed here: the decision must be short."""
        p, plan = self.p, self.plan
        # The pass that waits. Its place stays as it is for a cycle after it was taken: `_walk` looks at it then.
        self.following = following = Signal.like(plan.pass_data)
        self.valid, self.active = valid, active = Signal(), Signal()
        m.d.comb += plan.pass_ready.eq(~valid)
        with m.If(~valid):
            m.d.sync += [following.eq(plan.pass_data), valid.eq(plan.pass_valid)]

        self.deciding = kind = Signal(Pass)  # what for
        half, ends = Signal(), Signal()
        steps, single = Signal(16), Signal()
        steps_left, tiles_left = Signal(16), Signal(16)
        last_step, last_tile, last = Signal(), Signal(), Signal()  # `last`: both
        crowded = Signal()  # the tile before ended less than T cycles ago
        may_load = Signal()  # nothing but the steps under way is in front of the pass that waits
        self.issue, self.tile_ends, self.pass_ends, self.load, self.ended = (
            Signal(name=f"{name}_now") for name in ("issue", "tile_ends", "pass_ends", "load", "ended")
        )
        m.d.comb += [
            self.issue.eq(active & ~(last_step & crowded)),
            self.tile_ends.eq(self.issue & last_step),
            self.pass_ends.eq(active & last & ~crowded),
            self.load.eq(may_load & (~active | self.pass_ends)),
            self.ended.eq(self.pass_ends & ends),
        ]
        self.last_step, self.may_load = last_step, may_load
        with m.If(self.issue):
            m.d.sync += [
                steps_left.eq(steps_left - 1),
                last_step.eq(steps_left == 1),
                last.eq((steps_left == 1) & last_tile),
            ]
        with m.If(self.tile_ends):
            m.d.sync += [
                steps_left.eq(steps - 1),
                last_step.eq(single),
                last.eq(single & (tiles_left == 1)),
                tiles_left.eq(tiles_left - 1),
                last_tile.eq(tiles_left == 1),
            ]
        with m.If(self.pass_ends):
            m.d.sync += active.eq(0)
        with m.If(self.load):
            m.d.sync += [
                valid.eq(0),
                active.eq(1),
                kind.eq(following.kind),
                half.eq(following.half),
                ends.eq(following.ends),
                steps.eq(following.steps),
                single.eq(following.steps == 1),
                steps_left.eq(following.steps - 1),
                last_step.eq(following.steps == 1),
                last.eq((following.steps == 1) & (following.tiles == 1)),
                tiles_left.eq(following.tiles - 1),
                last_tile.eq(following.tiles == 1),
            ]

        # Timers. All latencies behind the issue are fixed, so hazards are counted, not signalled back.
        gap = Signal(range(p.t))
        with m.If(self.tile_ends):
            m.d.sync += [gap.eq(p.t - 1), crowded.eq(1)]
        with m.Elif(crowded):
            m.d.sync += [gap.eq(gap - 1), crowded.eq(gap != 1)]
        scored = Signal(2)  # the halves' scores are there
        for number in range(2):
            wait = Signal(range(self.score_settle), name=f"score_wait{number}")
            with m.If(wait != 0):
                m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 1):
                m.d.sync += scored[number].eq(1)
            with m.If(self.pass_ends & (kind == Pass.SCORE) & (half == number)):
                m.d.sync += wait.eq(self.score_settle - 3)  # until the pass that reads them may be loaded: two more
            with m.If(self.load & (following.kind == Pass.SCORE) & (following.half == number)):
                m.d.sync += scored[number].eq(0)
        since = Signal(bits_for(self.settle), init=self.settle)  # cycles since the last step
        with m.If(self.issue):
            m.d.sync += since.eq(0)
        with m.Elif(since != self.settle):
            m.d.sync += since.eq(since + 1)
        there = Signal()
        m.d.comb += there.eq(following.free | (~active & (since + 2 >= following.wait)))
        with m.If(following.kind == Pass.CONTEXT):
            m.d.comb += there.eq(scored.bit_select(following.half, 1))
        m.d.sync += may_load.eq(valid & ~self.load & there)

    def _walk(self, m: Module) -> None:
        """The step decided in the cycle before: where it is in its pass."""
        following = self.following
        self.f = f = Signal.like(following)
        self.step_now, self.first_tile, self.last = step, first_tile, last = Signal(), Signal(), Signal()
        self.context_step, self.pops = Signal(), Signal()
        tile_ends, load = Signal(), Signal()
        self.inner, self.v_tile = inner, v_tile = Signal(16), Signal(16)
        m.d.sync += [
            step.eq(self.issue),
            self.context_step.eq(self.issue & (self.deciding == Pass.CONTEXT)),
            last.eq(self.last_step),
            tile_ends.eq(self.tile_ends),
            self.pops.eq(self.pass_ends),
            load.eq(self.load),
        ]
        with m.If(step):
            m.d.sync += [inner.eq(inner + 1), f.v_word.eq(f.v_word + f.v_stride)]
        with m.If(tile_ends):
            m.d.sync += [
                inner.eq(0),
                first_tile.eq(0),
                f.a_row.eq(f.a_row + f.a_stride),
                f.k_row.eq(f.k_row + f.k_stride),
                f.v_word.eq(v_tile + 1),
                v_tile.eq(v_tile + 1),
            ]
            with m.If(f.kind == Pass.MATMUL):
                m.d.sync += f.row_tile.eq(f.row_tile + 1)
            with m.Else():
                m.d.sync += f.word.eq(f.word + 1)
        with m.If(load):
            m.d.sync += [f.eq(following), v_tile.eq(following.v_word), inner.eq(0), first_tile.eq(1)]
        m.d.comb += [
            self.begin.eq((load & following.begins) | self.plan.skip_begin),
            self.begin_number.eq(Mux(load, following.number, self.plan.skip_number)),
            self.plan.quiet.eq(~self.valid & ~self.active & ~step & ~load),
        ]

    def _instructions(self, m: Module) -> None:
        """Beginnings and ends, and what every cycle in between is spent with."""
        plan, present, ended = self.plan, Signal(range(CONTEXTS + 1)), Signal()
        m.d.comb += ended.eq(self.ended | plan.skip_end)
        m.d.sync += [
            present.eq(present + self.start - ended),
            self.unfinished.eq(self.unfinished + self.start - self.done),
        ]
        # The number of a step is known a cycle after it.
        number = Signal(16)
        skipped = delayed(m, plan.skip_end, 1, reset=True)
        m.d.comb += number.eq(Mux(skipped, delayed(m, plan.skip_number, 1), self.f.number))
        idle = ~self.active
        m.d.comb += [
            self.done.eq(delayed(m, ended, self.settle, reset=True)),
            self.done_number.eq(delayed(m, number, self.settle - 1)),
            self.step.eq(self.issue),
            self.attention_step.eq(self.issue & (self.deciding != Pass.MATMUL)),
            self.stall_drain.eq(self.active & ~self.issue),
            self.stall_pipeline.eq(idle & self.valid & ~self.may_load),
            self.starved.eq(idle & ~self.valid & plan.starving),
            self.stall_issue.eq(
                present.any() & ~(self.issue | self.stall_drain | self.stall_pipeline | self.starved)
            ),
            self.discarded.eq(plan.discarded),
        ]

    def _operands(self, m: Module) -> None:
        p, f, kind, step, inner = self.p, self.f, self.f.kind, self.step_now, self.inner
        part = ceil_log2(p.word // p.k)

        def operand(target: Signal, value: Value, *, reset: bool = False) -> None:
            m.d.comb += target.eq(delayed(m, value, self.lead - 3, reset=reset))

        row_operand = step & (kind != Pass.CONTEXT)
        weights = step & (kind == Pass.MATMUL)
        param = weights & self.first_tile & (inner < p.param_words)
        param_index = Signal.like(self.param_index)
        m.d.comb += param_index.eq(p.param_words - 1 - inner)
        operand(self.y_en, row_operand & ~f.from_h, reset=True)
        operand(self.h_en, row_operand & f.from_h, reset=True)
        operand(self.a_addr, (f.a_row + (inner >> part))[:16])
        operand(self.a_sub, inner[:part])
        operand(self.k_en, step & (kind == Pass.SCORE), reset=True)
        operand(self.k_addr, (f.k_row + (inner >> part))[:16])
        operand(self.k_sub, inner[:part])
        operand(self.v_en, step & (kind == Pass.CONTEXT), reset=True)
        operand(self.v_addr, f.v_word)
        operand(self.ring_en, weights, reset=True)
        operand(self.ring_index, f.ring + p.param_words + inner)
        operand(self.ring_param_en, param, reset=True)
        operand(self.ring_param_index, f.ring + param_index)
        operand(self.ring_pop, (self.pops & f.pop.any()) | self.plan.discard, reset=True)
        operand(self.ring_pop_count, Mux(self.plan.discard, self.plan.tile_words, f.pop))
        m.d.comb += [
            self.s_en.eq(self.context_step),
            self.s_half.eq(f.half),
            self.s_step.eq(inner),
            self.s_begin.eq(f.key_begin),
            self.s_keys.eq(f.keys),
            self.s_sum.eq(self.first_tile),
            self.s_first.eq(inner == 0),
            self.s_last.eq(self.last & self.first_tile),
        ]

        tile, at_array = Signal(tile_layout(p)), self.lead - 1
        m.d.comb += [tile[name].eq(f[name]) for name in ("kind", "context", "row_tile", "word", "half")]
        m.d.comb += tile.first.eq(self.first_tile)
        m.d.comb += [
            Cat(self.step_valid, self.step_last, self.param_en).eq(
                delayed(m, Cat(step, step & self.last, param), at_array, reset=True)
            ),
            self.step_first.eq(delayed(m, inner == 0, at_array)),
            self.kind.eq(delayed(m, kind, at_array)),
            self.from_h.eq(delayed(m, f.from_h, at_array)),
            self.a_unsigned.eq(delayed(m, f.a_unsigned, at_array)),
            self.tile.eq(delayed(m, tile.as_value(), at_array)),
            self.param_index.eq(delayed(m, param_index, at_array)),
        ]
