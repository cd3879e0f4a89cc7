"""cocotb bench of the issuer: instructions back to back, every step against the loops of docs/architecture.md.

A run records all outputs by cycle; the checks come afterwards. A step is decided `lead` cycles before the array has it.
"""

import json
import os
from bisect import bisect_left

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.isa import Source
from hwgen.params import HwParams
from tests.rtl.issue_model import CONTEXT, MATMUL, SCORE, Program

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
LEAD, HOLD, SCORE_SETTLE, SETTLE = (
    P.get("timing", {}).get(key, 0) for key in ("lead", "hold", "score_settle", "settle")
)
READ = LEAD - 2  # from the decision to the read of the operand buffers
CONTEXTS = 4
OUTPUTS = (
    "unfinished", "begin", "begin_number", "done", "done_number", "ring_en", "ring_index", "ring_pop", "ring_pop_count",
    "discarded", "y_en", "h_en", "a_addr", "a_sub", "k_en", "k_addr", "k_sub", "v_en", "v_addr", "s_en", "s_half",
    "s_step", "s_keys", "s_begin", "s_sum", "s_first", "s_last", "step_valid", "step_first", "step_last", "kind",
    "from_h", "a_unsigned", "tile", "param_en", "param_index", "step", "starved", "stall_drain", "stall_pipeline",
    "stall_issue", "attention_step",
)  # fmt: skip
CAUSES = ("step", "starved", "stall_drain", "stall_pipeline", "stall_issue")
TILE = (("kind", 2), ("context", 2), ("row_tile", HW.row_bits), ("word", 16), ("half", 1), ("first", 1))
#: Most cycles from one instruction's end to the next one's first step or parameter word.
TURN = 4


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

    async def run(self, *, eager=1.0, rate=None):
        """All instructions, given with probability `eager` as soon as there is room; `rate`: of ring words."""
        rng, instructions = self.rng, self.program.instructions
        self.ring = ring = Ring(rng, self.program.stream, rate)
        self.trace, self.starts, self.number = [], [], int(rng.integers(1 << 15))
        done = quiet = progress = 0
        while quiet < 8:
            cycle = len(self.trace)
            assert cycle < progress + 3000, f"stuck with {done} of {len(instructions)} instructions done"
            await RisingEdge(self.dut.clk)
            unfinished = len(self.starts) - done
            start = len(self.starts) < len(instructions) and unfinished < CONTEXTS and rng.random() < eager
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
            if now["ring_en"]:
                assert now["ring_index"] < there - ring.popped, "read a word that is not in the ring"
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
        decided, ends = check_order(self)
        check_events(self, decided)
        check_timing(self, decided, ends)


def check_order(bench):
    """The cycle in which each event of each instruction was decided, and that of each instruction's end."""
    instructions, trace = bench.program.instructions, bench.trace
    at = [
        cycle - late
        for cycle, now in enumerate(trace)
        for kind, late in (("step_valid", LEAD), ("param_en", LEAD), ("discarded", 0))
        if now[kind]
    ]
    at.sort()
    assert len(at) == sum(len(instruction.events) for instruction in instructions)
    decided, taken = [], 0
    for instruction in instructions:
        decided.append(at[taken : taken + len(instruction.events)])
        taken += len(instruction.events)
    for event in ("begin", "done"):
        numbers = [now[f"{event}_number"] for now in trace if now[event]]
        assert numbers == [bench.number + i for i in range(len(instructions))], f"numbers of {event}"
    ends = [cycle - SETTLE for cycle, now in enumerate(trace) if now["done"]]
    begins = [cycle for cycle, now in enumerate(trace) if now["begin"]]
    before = -1
    for start, begin, cycles, end in zip(bench.starts, begins, decided, ends, strict=True):
        assert begin == max(start, before) + 2, "the fields are looked up in the cycle between"
        for cycle in cycles:
            assert begin < cycle <= end, "a step of another instruction's time"
        assert not cycles or end <= cycles[-1] + 1, "done late"
        before = end
    return decided, ends


def check_events(bench, decided):
    """Every step, parameter word and discard with its reads in the right cycle, and no reads beside."""
    trace = bench.trace
    expected = {name: set() for name in ("y_en", "h_en", "ring_en", "k_en", "v_en", "s_en", "step", "attention_step")}
    pops = {}
    for number, (instruction, cycles) in enumerate(zip(bench.program.instructions, decided, strict=True)):
        f = instruction.f
        for cycle, event in zip(cycles, instruction.events, strict=True):
            early, read, now = trace[cycle], trace[cycle + READ], trace[cycle + LEAD]
            if event.get("pop"):
                pops[cycle + READ] = event["pop"]
            if "discard" in event:
                assert early["discarded"] == event["discard"]
                continue
            if "word" in event:
                expected["ring_en"].add(cycle + READ)
                assert read["base"] + read["ring_index"] == event["word"], event
            if "param" in event:
                assert now["param_en"] and now["param_index"] == event["param"]
                continue
            expected["step"].add(cycle)
            assert now["step_valid"] and not now["param_en"]
            assert (now["step_first"], now["step_last"], now["kind"]) == (event["first"], event["last"], event["kind"])
            if "a" in event:
                source, *place = event["a"]
                expected["y_en" if source == Source.Y else "h_en"].add(cycle + READ)
                assert [read["a_addr"], read["a_sub"]] == place, event
                assert now["from_h"] == (source == Source.H)
            if event["kind"] != CONTEXT:
                assert now["a_unsigned"] == f.get("a_unsigned", 0)
            if event["kind"] != MATMUL:
                expected["attention_step"].add(cycle)
            if "k" in event:
                expected["k_en"].add(cycle + READ)
                assert (read["k_addr"], read["k_sub"]) == event["k"]
            if "v" in event:
                expected["v_en"].add(cycle + READ)
                assert read["v_addr"] == event["v"]
            if "s" in event:
                expected["s_en"].add(cycle)
                begin = f["row_begin"] % HW.word
                wanted = event["s"] | {"begin": begin, "keys": instruction.rows - f["row_begin"] + begin}
                assert {name: early[f"s_{name}"] for name in wanted} == wanted, event
            if event["last"]:
                tile = unpack_tile(now["tile"])
                wanted = event["tile"] | {"kind": event["kind"], "context": number % CONTEXTS}
                assert {name: tile[name] for name in wanted} == wanted
    for name, wanted in expected.items():
        assert {cycle for cycle, now in enumerate(trace) if now[name]} == wanted, f"{name} without reason, or missing"
    assert {cycle: now["ring_pop_count"] for cycle, now in enumerate(trace) if now["ring_pop"]} == pops


class Limit:
    """What a cycle may be spent with: cycles before `until` are the cause's, the event comes `extra` later at most."""

    def __init__(self, cause, until, extra=0):
        self.cause, self.until, self.extra = cause, until, extra


def check_timing(bench, decided, ends):
    """No event before its hazards are over, none later than they and the loops demand; one true cause per cycle."""
    trace, causes = bench.trace, {}
    last_step, last_end, gap = -1000, -1000, 0
    for number, instruction in enumerate(bench.program.instructions):
        begin = max([bench.starts[number], *ends[number - 1 : number]]) + 2
        before, extra = begin, TURN - 1
        slack = Limit("stall_pipeline", last_step + max(0, SETTLE - instruction.slack), 3)
        scores_at, stepped = {}, False
        for event, cycle in zip(instruction.events, decided[number], strict=True):
            limits = [slack] if before == begin else []
            if event.get("fresh"):
                limits.append(Limit("starved", bench.ring.written[event["word"]] + 2))
            if event.get("last"):
                limits.append(Limit("stall_drain", last_end + gap))
                assert cycle >= limits[-1].until, "tiles finished too close together"
            if event.get("opens"):
                extra = TURN - 1 if before == begin else 2
                if event["kind"] == CONTEXT:
                    limits.append(Limit("stall_pipeline", scores_at[event["query"]] + SCORE_SETTLE, 2))
                    assert cycle >= limits[-1].until, "scores read before they are written"
            if "discard" in event and before != begin:  # takes two cycles
                limits.append(Limit("starved", before + 2))
            latest = max(before + extra, *(limit.until + limit.extra for limit in limits), 0)
            assert cycle <= latest, f"{event} of instruction {number} in cycle {cycle}, later than {latest}"
            for wait in range(before + (before != begin), cycle):
                causes[wait] = {limit.cause for limit in limits if wait < limit.until + max(0, limit.extra - 1)}
            before, extra = cycle, 1
            if "kind" not in event:
                continue
            if not stepped:
                assert cycle >= slack.until, "a step before the slack of its instruction"
            stepped, last_step = True, cycle
            if event["last"]:
                last_end = cycle
                gap = HW.t + HOLD * (event["kind"] == CONTEXT and event["tile"]["first"])
                if event["kind"] == SCORE:
                    scores_at[event["query"]] = cycle
        if not instruction.events:
            assert ends[number] <= max(begin + TURN - 1, slack.until + slack.extra)
            for wait in range(begin, ends[number]):
                causes[wait] = {"stall_pipeline"} if wait < slack.until + 2 else set()
    busy = {
        cycle
        for start, before, end in zip(bench.starts, [-1, *ends], ends)
        for cycle in range(max(start, before) + 1, end + 1)
    }
    for cycle, now in enumerate(trace):
        on = [cause for cause in CAUSES if now[cause]]
        assert len(on) == (cycle in busy), f"{on} in cycle {cycle}"
        assert not on or on[0] in ("step", "stall_issue") or on[0] in causes.get(cycle, ()), f"no {on[0]} in {cycle}"


async def programs(dut, length, *, what=None, **how):
    bench = Bench(dut)
    await bench.reset()
    for index in range(length):
        bench.program.add(what and what(bench, index))
    await bench.run(**how)
    bench.check()


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
