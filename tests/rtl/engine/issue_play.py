"""The issuer under cocotb: instructions and ring words are given, all outputs recorded, then checked by the schedule.

A step is decided `lead` cycles before the array has it.
"""

import json
import os
from bisect import bisect_left
from itertools import pairwise

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.isa import Source
from hwgen.machine.params import HwParams
from tests.rtl.engine.issue_model import CONTEXT, MATMUL, SCORE, Program
from tests.rtl.engine.issue_schedule import Schedule
from tests.rtl.ports import Ports, reset, unpack_fields

__all__ = ["HW", "SCORE_SETTLE", "SETTLE", "Bench", "openings"]

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
LEAD, SCORE_SETTLE, SETTLE = (P.get("timing", {}).get(key, 0) for key in ("lead", "score_settle", "settle"))
READ = LEAD - 2  # from the decision to the read of the operand buffers
CONTEXTS = 4
OUTPUTS = (
    "unfinished", "begin", "begin_number", "done", "done_number", "ring_en", "ring_index", "ring_param_en",
    "ring_param_index", "ring_pop", "ring_pop_count", "discarded", "y_en", "h_en", "a_addr", "a_sub", "k_en", "k_addr",
    "k_sub", "v_en", "v_addr", "s_en", "s_half", "s_step", "s_keys", "s_begin", "s_sum", "s_first", "s_last",
    "step_valid", "step_first", "step_last", "kind", "from_h", "tile", "param_en", "param_index", "step",
    "starved", "stall_drain", "stall_pipeline", "stall_issue", "attention_step",
)  # fmt: skip
CAUSES = ("step", "starved", "stall_drain", "stall_pipeline", "stall_issue")
TILE = (("kind", 2), ("context", 2), ("row_tile", HW.row_bits), ("word", 16), ("half", 1), ("first", 1))


class Ring:
    """Supply and levels of the weight ring as `WeightFetch` has them; words of instructions not yet started come too.

    `written[i]` is the cycle in which word i pulses `ring_written`: it may be read from the next one on."""

    def __init__(self, rng, words, rate):
        self.rng, self.words, self.written, self.popped, self.rate, self.fixed = rng, words, [], 0, rate, rate

    def next(self, cycle):
        if not self.fixed and cycle % 150 == 0:
            self.rate = float(self.rng.choice([0.05, 0.3, 0.7, 1.0, 1.0]))
        room = len(self.written) < self.words and len(self.written) - self.popped < HW.weight_depth
        pulse = bool(room and self.rng.random() < self.rate)
        if pulse:
            self.written.append(cycle)
        return pulse


class Bench:
    """`trace`: outputs by cycle; `starts`: cycle in which each instruction was given."""

    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)
        self.inputs = Ports(dut, f"{P['part']}_")
        self.ports = {name: getattr(dut, f"{P['part']}_{name}") for name in OUTPUTS}
        self.program = Program(HW, self.rng, settle=SETTLE)

    async def reset(self):
        await reset(self.dut, self.inputs, start=0, instruction=0, rows=0, fetched=0, number=0, ring_written=0)

    async def run(self, *, eager=1.0, when=None, rate=None):
        """All instructions, given with probability `eager` as soon as there is room, or `when(index, unfinished, cycles
        since the last one)`; `rate`: of ring words."""
        when = when or (lambda *now: rng.random() < eager)
        rng, instructions = self.rng, self.program.instructions
        self.ring = ring = Ring(rng, self.program.stream, rate)
        self.trace, self.starts, self.number = [], [], int(rng.integers(1 << 15))
        done = quiet = progress = 0
        while quiet < 8:
            cycle = len(self.trace)
            assert cycle < progress + 3000, f"stuck with {done} of {len(instructions)} instructions done"
            await RisingEdge(self.dut.clk)
            unfinished = len(self.starts) - done
            start = len(self.starts) < len(instructions) and unfinished < CONTEXTS
            start = start and when(len(self.starts), unfinished, cycle - max(self.starts, default=-1))
            given = {"instruction": int.from_bytes(rng.bytes(64), "little"), "rows": int(rng.integers(1 << 16))}
            given |= {"fetched": int(rng.integers(2)), "number": int(rng.integers(1 << 16))}
            if start:
                instruction = instructions[len(self.starts)]
                given = {"instruction": instruction.code, "rows": instruction.rows, "fetched": instruction.fetched}
                given["number"] = self.number + len(self.starts)
                self.starts.append(cycle)
            self.inputs.set(start=start, ring_written=ring.next(cycle), **given)
            await ReadOnly()
            now = {name: int(port.value) for name, port in self.ports.items()} | {"base": ring.popped}
            there = bisect_left(ring.written, cycle)  # a word may be read from the cycle after its pulse on
            for port in ("ring", "ring_param"):
                if now[f"{port}_en"]:
                    assert now[f"{port}_index"] < there - ring.popped, "read a word that is not in the ring"
            if now["ring_pop"]:
                assert now["ring_pop_count"] <= there - ring.popped, "popped more words than there are"
                ring.popped += now["ring_pop_count"]
            assert now["unfinished"] == unfinished
            if start or now["step"] or now["done"]:
                progress = cycle
            done += now["done"]
            quiet += done == len(instructions)
            self.trace.append(now)

    def check(self):
        timing = {"score_settle": SCORE_SETTLE, "settle": SETTLE}
        schedule = Schedule(self.program, self.starts, self.ring.written, **timing)
        check_order(self, schedule)
        check_steps(self, schedule)
        check_causes(self, schedule)
        check_hazards(self, schedule)
        return schedule


def check_order(bench, schedule):
    """Everything happens in the cycle in which it should."""
    trace = bench.trace
    expected = list(schedule.steps())
    at = [cycle for cycle, now in enumerate(trace) if now["step"]]
    for (number, cycle, step), seen in zip(expected, at):
        assert seen == cycle, f"{step} of instruction {number} in cycle {seen}, not {cycle}"
    assert len(at) == len(expected)
    for event, cycles in (("begin", schedule.begins), ("done", [end + SETTLE for end in schedule.ends])):
        seen = [(cycle, now[f"{event}_number"]) for cycle, now in enumerate(trace) if now[event]]
        assert seen == [(cycle, bench.number + i) for i, cycle in enumerate(cycles)], event


def check_steps(bench, schedule):
    """Every step and discard with its reads in the right cycles, and no reads beside."""
    trace = bench.trace
    names = ("y_en", "h_en", "ring_en", "ring_param_en", "param_en", "k_en", "v_en", "s_en", "step_valid", "discarded")
    expected = {name: set() for name in (*names, "attention_step")}
    pops = {}
    for cycle, discard in schedule.discards:
        expected["discarded"].add(cycle)
        assert trace[cycle]["discarded"] == discard["halves"]
        pops[cycle + READ - 1] = discard["pop"]
    for number, cycle, step in schedule.steps():
        instruction = bench.program.instructions[number]
        f, score, read, now = instruction.f, trace[cycle + 1], trace[cycle + READ], trace[cycle + LEAD]
        expected["step_valid"].add(cycle + LEAD)
        assert (now["step_first"], now["step_last"], now["kind"]) == (step["first"], step["last"], step["kind"])
        if step["kind"] != MATMUL:
            expected["attention_step"].add(cycle)
        if "a" in step:
            source, *place = step["a"]
            expected["y_en" if source == Source.Y else "h_en"].add(cycle + READ)
            assert [read["a_addr"], read["a_sub"]] == place, step
            assert now["from_h"] == (source == Source.H)
        if "word" in step:
            expected["ring_en"].add(cycle + READ)
            assert read["base"] + read["ring_index"] == step["word"], step
        if "param" in step:
            index, word = step["param"]
            expected["ring_param_en"].add(cycle + READ)
            expected["param_en"].add(cycle + LEAD)
            assert read["base"] + read["ring_param_index"] == word, step
            assert (read["ring_index"] - read["ring_param_index"]) % 2, "both words in the same memory"
            assert now["param_index"] == index
        if step.get("pop"):
            pops[cycle + READ] = step["pop"]
        if "k" in step:
            expected["k_en"].add(cycle + READ)
            assert (read["k_addr"], read["k_sub"]) == step["k"]
        if "v" in step:
            expected["v_en"].add(cycle + READ)
            assert read["v_addr"] == step["v"]
        if "s" in step:
            expected["s_en"].add(cycle + 1)
            begin = f["row_begin"] % HW.word
            wanted = step["s"] | {"begin": begin, "keys": instruction.rows - f["row_begin"] + begin}
            assert {name: score[f"s_{name}"] for name in wanted} == wanted, step
        if step["last"]:
            tile = unpack_fields(now["tile"], TILE)
            wanted = step["tile"] | {"kind": step["kind"], "context": number % CONTEXTS}
            assert {name: tile[name] for name in wanted} == wanted
    for name, wanted in expected.items():
        assert {cycle for cycle, now in enumerate(trace) if now[name]} == wanted, f"{name} without reason, or missing"
    assert {cycle: now["ring_pop_count"] for cycle, now in enumerate(trace) if now["ring_pop"]} == pops


def check_causes(bench, schedule):
    """Exactly one, and the true one, in every cycle with an instruction."""
    for cycle, now in enumerate(bench.trace):
        wanted = schedule.causes.get(cycle)
        assert [cause for cause in CAUSES if now[cause]] == ([wanted] if wanted else []), f"cycle {cycle}"


def check_hazards(bench, schedule):
    """What others rely on, said once more without the planner's cycles."""
    passes = schedule.passes
    ends = [cycle for _, cycle, step in schedule.steps() if step["last"]]
    assert all(later - end >= HW.t for end, later in pairwise(ends)), "tiles finished too close together"
    scores = [timed for timed in passes if timed.content.kind == SCORE]
    contexts = [timed for timed in passes if timed.content.kind == CONTEXT]
    for score, context in zip(scores, contexts, strict=True):
        assert context.content.half == score.content.half
        assert context.cycles[0] >= score.cycles[-1] + SCORE_SETTLE, "scores read before they are written"
    for before, after in pairwise(scores):
        assert before.content.half != after.content.half, "halves take turns"
    for later, before in zip(scores[2:], contexts):
        assert later.cycles[0] > before.cycles[-1], "scores overwritten before they are read"
    for number, before, timed in openings(schedule):
        wait = SETTLE - bench.program.instructions[number].slack
        assert timed.cycles[0] >= before.cycles[-1] + wait, "a step before the slack of its instruction"
    for timed in passes:
        needs = timed.content.needs
        assert needs < 0 or timed.cycles[0] > bench.ring.written[needs], "weights are not all there"


def openings(schedule):
    """(number, pass before it, first pass) of instructions with passes, but for the first."""
    begun = {schedule.passes[0].number} if schedule.passes else set()
    for before, timed in pairwise(schedule.passes):
        if timed.number not in begun:
            begun.add(timed.number)
            yield timed.number, before, timed
