"""Timelines of the emitted Verilog: each cycle has the cause that its counter counted, each burst its instruction."""

from collections import Counter
from pathlib import Path

import pytest

from hwgen.build import Build
from hwgen.machine.isa import Op
from hwgen.report.timeline import BUSY, PORTS, Timeline, check
from sim.harness import COUNTED, Job, JobResult, Timing
from sim.timeline import timeline
from tests.system.helpers import OFFSETS, Work, harness
from tests.system.test_counters import works as works  # the same harness
from tests.system.test_weight_ports import runs

TIMINGS = [Timing(5), Timing(300), Timing(30, stall_percent=40, seed=3)]
Made = tuple[Work, str, JobResult, Timeline]


def measured(models: list[Work], timing: Timing) -> list[Made]:
    """All tasks of all models one after the other on one machine."""
    machine = harness(models[0].p)
    found = []
    for work in models:
        compiled = work.compiled
        jobs = [Job(compiled.entries[task], compiled.pack_input(work.images[: compiled.batch]),
                    compiled.output_bytes[task]) for task in work.tasks]  # fmt: skip
        results = machine.run(jobs, program=compiled.program, weights=compiled.weights, counters=OFFSETS,
                              timing=timing, timeline=True)  # fmt: skip
        build = Build(Path(), {}, work.p, work.desc, compiled)
        for task, result in zip(work.tasks, results, strict=True):
            found.append((work, task, result, check(timeline(build, task, result), task)))
    return found


@pytest.fixture(scope="module", params=[*TIMINGS, "two ports"], ids=["quick", "slow", "stalls", "two ports"])
def made(request, works) -> list[Made]:
    if request.param == "two ports":
        return measured([runs(2)[0][0]], Timing(60, weight_latency=(60, 90)))
    return measured(works, request.param)


def test_causes_are_those_of_the_counters(made):
    """Cycle by cycle one behind the other, as many of each cause as its counter has, together all cycles."""
    seen = Counter()
    for _, _, result, _ in made:
        count = Counter()
        for one, following in zip(result.causes, [*result.causes[1:], None]):
            assert one.begin < one.end and (following is None or following.begin == one.end)
            count[one.counter] += one.end - one.begin
        assert {name: count[name] for name in COUNTED} == {name: result.counters[name] for name in COUNTED}
        assert sum(count.values()) == result.counters["cycles"]
        seen += count
    assert len(seen) >= 8


def test_bursts_are_those_of_the_counters(made):
    for work, _, result, found in made:
        count = result.counters
        weights = sum(count[f"gmem{number}_read_bytes"] for number in (0, 2, 3, 4))
        moved = Counter()
        for burst in result.bursts:
            assert burst.asked < burst.first <= burst.last < result.cycles or burst.region == "output"
            moved[burst.region] += burst.bytes
        assert moved["weights"] == weights
        assert moved["program"] + moved["input"] == count["gmem1_read_bytes"]
        assert moved["output"] == count["gmem1_write_bytes"]
        table = found.transfers
        by_port = Counter()
        for port, size in zip(table.port, table.bytes, strict=True):
            by_port[port] += size
        data = moved["program"] + moved["input"]
        assert by_port == dict(zip(PORTS, (weights, data, moved["output"]), strict=True))
        assert work.p.weight_ports == len({one.port for one in result.bursts if one.region == "weights"})


def test_each_transfer_is_of_its_instruction(made):
    """What the program says it reads or writes came, to the byte; of an empty queue nothing or part of it."""
    empty = 0
    for work, task, _, found in made:
        program, table = work.compiled.instructions[task], found.transfers
        moved = Counter()
        beat = {"weights": work.p.weight_bus // 8}
        for number, size, kind, begin, end in zip(table.instruction, table.bytes, table.kind, table.begin, table.end,
                                                  strict=True):  # fmt: skip
            moved[number] += size
            assert (number is None) == (kind == "program")
            assert size <= (end - begin) * max(beat.get(kind, 0), work.p.data_bus // 8) * work.p.weight_ports
        lengths = {}
        for number, instr in enumerate(program):
            if instr.op == Op.GATHER:
                lengths[instr.fields["expert"]] = found.instructions.begin[number] is not None
            said = instr.fields.get("bytes", 0)
            whole = -(-said // (work.p.data_bus // 8)) * (work.p.data_bus // 8) if instr.op != Op.MATMUL else said
            if instr.fields.get("use_queue") and not lengths[instr.fields["expert"]]:
                empty += 1
                assert moved[number] in (0, said)
            else:
                assert moved[number] in (said, whole), instr.name
    assert empty or made[0][0].p.weight_ports == 2


def test_every_cycle_is_of_an_instruction(made):
    """Shares of all instructions are the run; those of the array take the steps that the cycle model counts too."""
    for work, task, result, found in made:
        shares = found.shares()
        assert sum(share.cycles for share in shares) == result.counters["cycles"] == found.cycles
        assert sum(share.busy for share in shares) == result.counters["array_busy"]
        names = found.instructions
        ran = [number for number, begin in enumerate(names.begin) if begin is not None]
        skipped = [instr.op for number, instr in enumerate(work.compiled.instructions[task]) if number not in ran]
        assert set(skipped) <= {Op.END, Op.GATHER} and skipped.count(Op.END) == 1
        assert all(names.begin[number] <= names.end[number] for number in ran)
        causes = found.causes
        # Causes and instructions have one clock: the first step is made in the cycle in which the first product begins.
        assert causes.begin[causes.cause.index(BUSY)] == min(names.begin[number] for number in found.engine())
        assert sum(end - begin for cause, begin, end in zip(causes.cause, causes.begin, causes.end)
                   if cause == BUSY) == result.counters["array_busy"]  # fmt: skip


def test_only_the_first_jobs(works):
    work = works[0]
    compiled, task = work.compiled, work.tasks[0]
    job = Job(compiled.entries[task], compiled.pack_input(work.images[:1]), compiled.output_bytes[task])
    first, second = harness(work.p).run([job, job], program=compiled.program, weights=compiled.weights, timeline=1)
    assert first.timeline and first.causes and first.bursts
    assert not (second.timeline or second.causes or second.bursts)
    assert first.output == second.output
