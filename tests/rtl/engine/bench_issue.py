"""cocotb bench of the issuer: instructions back to back, every cycle against the model's schedule.

A run records all outputs by cycle; the checks come afterwards. A step is decided `lead` cycles before the array has it.
"""

import json
import os
from bisect import bisect_left
from itertools import pairwise

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.isa import NO_WAIT, Source
from hwgen.machine.params import HwParams
from tests.rtl.engine.issue_model import CONTEXT, MATMUL, SCORE, Program, Schedule

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
LEAD, SCORE_SETTLE, SETTLE = (P.get("timing", {}).get(key, 0) for key in ("lead", "score_settle", "settle"))
READ = LEAD - 2  # from the decision to the read of the operand buffers
CONTEXTS = 4
OUTPUTS = (
    "unfinished", "begin", "begin_number", "done", "done_number", "ring_en", "ring_index", "ring_param_en",
    "ring_param_index", "ring_pop", "ring_pop_count", "discarded", "y_en", "h_en", "a_addr", "a_sub", "k_en", "k_addr",
    "k_sub", "v_en", "v_addr", "s_en", "s_half", "s_step", "s_keys", "s_begin", "s_sum", "s_first", "s_last",
    "step_valid", "step_first", "step_last", "kind", "from_h", "a_unsigned", "tile", "param_en", "param_index", "step",
    "starved", "stall_drain", "stall_pipeline", "stall_issue", "attention_step",
)  # fmt: skip
CAUSES = ("step", "starved", "stall_drain", "stall_pipeline", "stall_issue")
TILE = (("kind", 2), ("context", 2), ("row_tile", HW.row_bits), ("word", 16), ("half", 1), ("first", 1))
#: From the start pulse of an instruction that finds the issuer idle to its first step.
IDLE_START = 7
#: So many steps of an instruction's last pass hide the planning of the next instruction, of another pass that of the
#: next pass.
LONG, LONG_INNER = 4, 3


def unpack_tile(value):
    fields = {}
    for name, bits in TILE:
        fields[name] = value & ((1 << bits) - 1)
        value >>= bits
    return fields


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
        self.ports = {name: getattr(dut, f"{P['part']}_{name}") for name in OUTPUTS}
        self.program = Program(HW, self.rng, settle=SETTLE)

    def drive(self, **values):
        for name, value in values.items():
            getattr(self.dut, f"{P['part']}_{name}").value = value

    async def reset(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        self.dut.rst.value = 1
        self.drive(start=0, instruction=0, rows=0, fetched=0, number=0, ring_written=0)
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

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
            self.drive(start=start, ring_written=ring.next(cycle), **given)
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
        if step["kind"] != CONTEXT:
            assert now["a_unsigned"] == f.get("a_unsigned", 0)
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
            tile = unpack_tile(now["tile"])
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


def drained(timed):
    """Cycles from any tile's end to the pass's first step, which may end a tile itself."""
    return HW.t if timed.content.steps[0]["last"] else 1


async def programs(dut, length, *, what=None, **how):
    """`what(bench, index)`: of the instruction, or that and fields given."""
    bench = Bench(dut)
    await bench.reset()
    for index in range(length):
        chosen = what and what(bench, index)
        kind, given = chosen if isinstance(chosen, tuple) else (chosen, {})
        bench.program.add(kind, **given)
    await bench.run(**how)
    return bench, bench.check()


def queries(count):
    """Rows of an ATTENTION with so many query tiles, and keys for T steps a tile of context if there can be."""
    end = HW.max_tokens // HW.word * HW.word
    return {"row_begin": end - count * HW.t, "row_end": end}


@cocotb.test()
async def mixed(dut):
    """Everything, four in flight, words at all rates."""
    await programs(dut, 120)


@cocotb.test()
async def trickle(dut):
    """Words slower than the array; instructions now and then."""
    await programs(dut, 25, eager=0.01, rate=0.2)


@cocotb.test()
async def plenty(dut):
    """Words as fast as the array."""
    await programs(dut, 80, rate=1.0)


@cocotb.test()
async def queues(dut):
    """Experts, many of them empty: with weights to discard and without."""
    await programs(dut, 40, what=lambda bench, index: "attention" if index % 9 == 8 else "queue")


@cocotb.test()
async def blocks(dut):
    """Row blocks of several matrices kept in the ring at a time."""

    def next_block(bench, index):
        kept = len(bench.program.kept)
        if index % 10 < 3:
            return None if bench.program.kept else "keep"
        return "again" if index % 10 < 8 and kept else "last" if kept else "once"

    await programs(dut, 120, what=next_block)


@cocotb.test()
async def attention(dut):
    await programs(dut, 40, what=lambda bench, index: "attention")


@cocotb.test()
async def joined(dut):
    """The last context of an ATTENTION comes behind the first scores of the next one."""

    def next_one(bench, index):
        return "attention", {"slack": NO_WAIT} | queries(1 + index % 7 % 4)

    bench, schedule = await programs(dut, 40, what=next_one)
    assert max(schedule.joins) < 0, "all came in time"
    order = [(timed.number, timed.content.kind) for timed in schedule.passes]
    for number, instruction in enumerate(bench.program.instructions):
        tiles = len(instruction.passes) // 2
        assert [kind for owner, kind in order if owner == number] == [SCORE, *[SCORE, CONTEXT] * (tiles - 1), CONTEXT]
        if number < 39:
            at = order.index((number + 1, SCORE))
            assert order[at + 1] == (number, CONTEXT), "not joined"
            assert all(owner > number for owner, _ in order[at + 2 :])


@cocotb.test()
async def joined_in_time(dut):
    """Pairs of ATTENTIONs, the second one given later and later: joined until the first one has gone on."""
    pairs = SCORE_SETTLE + 20

    def next_one(bench, index):
        return "attention", {"slack": NO_WAIT, "k_steps": 2} | queries(1 + index // (2 * pairs))

    def when(index, unfinished, since):
        return since > index // 2 % pairs if index % 2 else not unfinished

    _, schedule = await programs(dut, 4 * pairs, what=next_one, when=when)
    late = schedule.joins[::2]
    for tiles in (1, 2):
        seen = late[(tiles - 1) * pairs :][:pairs]
        assert seen == list(range(seen[0], seen[0] + pairs)) and seen[0] < 0 < seen[-1]


@cocotb.test()
async def others_do_not_join(dut):
    """ATTENTIONs that wait for the one before, if only for nothing, and MATMULs between."""

    def alternate(bench, index):
        if index % 3 == 2:
            return "once", {"slack": NO_WAIT}
        return "attention", {"slack": int(bench.rng.choice([0, SETTLE, NO_WAIT - 1]))} | queries(1 + index % 5 % 3)

    _, schedule = await programs(dut, 40, what=alternate, rate=1.0)
    numbers = [timed.number for timed in schedule.passes]
    assert not schedule.joins and numbers == sorted(numbers)


@cocotb.test()
async def no_bubbles(dut):
    """Instructions given in time run without a pause: a step in every cycle but those that the drain needs."""
    k_steps = min(4, HW.weight_depth // 2 - HW.param_words)  # of two tiles that fit in the ring, at least
    words = HW.param_words + k_steps
    rows = HW.max_tokens // HW.t * HW.t

    def next_one(bench, index):
        given = {"slack": NO_WAIT, "k_steps": k_steps, "row_begin": 0, "row_end": rows}
        if index < 9:  # kept weights; between long instructions (four in flight take longer than `settle`) short ones
            few = {} if index % 3 == 0 else {"row_end": -(-LONG // k_steps) * HW.t}
            return "again" if index else "keep", given | {"tiles": HW.weight_depth // words - 1} | few
        if index == 9:
            return "last", given
        if index < 14:  # the next tile is fetched meanwhile
            return "once", given | {"tiles": 3}
        # Scores that take as long as softmax.
        return "attention", {"slack": NO_WAIT, "k_steps": SCORE_SETTLE, "tiles": 2} | queries(1 + index % 3)

    _, schedule = await programs(dut, 22, what=next_one, rate=1.0)
    *passes, last = schedule.passes
    assert min(len(timed.content.steps) for timed in passes if timed.content.kind == MATMUL) <= LONG + 2
    for before, timed in pairwise(passes):
        assert timed.cycles[0] <= before.cycles[-1] + drained(timed), f"instruction {timed.number} waits"
    assert last.content.kind == CONTEXT and last.cycles[0] <= passes[-1].cycles[-1] + SCORE_SETTLE
    matmul = [cycle for timed in passes if timed.content.kind == MATMUL for cycle in timed.cycles]
    assert len(matmul) == matmul[-1] - matmul[0] + 1


@cocotb.test()
async def short(dut):
    """Passes too short to hide the planning of the next instruction cost no more than that."""

    def next_one(bench, index):
        row_end = HW.max_tokens if index % 3 == 0 else int(bench.rng.integers(1, 2 * HW.t + 1))
        given = {"slack": NO_WAIT, "tiles": 2, "k_steps": HW.param_words, "row_begin": 0, "row_end": row_end}
        return "again" if index else "keep", given

    bench, schedule = await programs(dut, 60, what=next_one)
    in_time = 0
    for number, before, timed in openings(schedule):
        planned = before.cycles[-1] + max(drained(timed), 1 + LONG - len(before.content.steps))
        assert timed.cycles[0] <= max(planned, bench.starts[number] + IDLE_START)
        in_time += bench.starts[number] + IDLE_START <= planned
    assert in_time > 50
    for before, timed in pairwise(schedule.passes):
        if before.number == timed.number != 0:
            planned = max(drained(timed), 1 + LONG_INNER - len(before.content.steps))
            assert timed.cycles[0] <= before.cycles[-1] + planned


@cocotb.test()
async def dependent(dut):
    """An instruction that waits for the one before starts when that is written, or a cycle later."""

    def next_one(bench, index):
        given = {"slack": int(bench.rng.integers(SETTLE)), "tiles": 1, "row_begin": 0, "row_end": HW.max_tokens}
        return "again" if index else "keep", given

    bench, schedule = await programs(dut, 60, what=next_one)
    for number, before, timed in openings(schedule):
        wait = SETTLE - bench.program.instructions[number].slack
        assert timed.cycles[0] <= before.cycles[-1] + max(wait, 2) + 1


@cocotb.test()
async def lone(dut):
    """From idle to the first step; context when softmax is ready."""

    def next_one(bench, index):
        return "attention", {"slack": NO_WAIT} | queries(1)

    bench, schedule = await programs(dut, 20, what=next_one, eager=0.004)
    scores, contexts = ([t for t in schedule.passes if t.content.kind == kind] for kind in (SCORE, CONTEXT))
    idle = [i for i in range(1, 20) if bench.starts[i] > schedule.ends[i - 1]]
    assert len(idle) > 10
    for number in idle:
        assert schedule.begins[number] == bench.starts[number] + IDLE_START
        assert contexts[number].cycles[0] == scores[number].cycles[-1] + SCORE_SETTLE
