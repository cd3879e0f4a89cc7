"""Bursts put together and to their instructions, on made-up runs of a real program."""

from dataclasses import replace

import pytest

from hwgen.machine.isa import Op
from sim.job import Burst, Cause, JobResult, Span
from sim.timeline import PAUSE, timeline


@pytest.fixture
def program(build):
    return build.compiled.instructions["digit"]


def first_of(program, op, **fields):
    """The first instruction of an opcode that fetches or stores something, and its number."""
    return next((number, instr) for number, instr in enumerate(program)
                if instr.op == op and instr.fields.get("bytes") and fields.items() <= instr.fields.items())  # fmt: skip


def transfers(build, *bursts):
    table = timeline(build, "digit", JobResult(bursts=list(bursts), counters={"cycles": 9999})).transfers
    return list(zip(table.port, table.kind, table.instruction, table.begin, table.end, table.bytes, strict=True))


def test_spans_and_causes(build, program):
    result = JobResult(cycles=500, counters={"cycles": 480}, timeline=[Span("data", 0, 10, 20)],
                       causes=[Cause("stall_fetch", 4, 30), Cause("array_busy", 30, 484)])  # fmt: skip
    made = timeline(build, "digit", result)
    assert (made.source, made.task, made.model, made.cycles, made.batch) == ("simulation", "digit", "random", 480, 1)
    assert made.instructions.name == [instr.name for instr in program]
    assert (made.instructions.begin[:2], made.instructions.end[:2]) == ([10, None], [20, None])
    assert made.instructions.unit[0] == "data" and made.instructions.unit[-1] == ""
    assert made.causes.model_dump() == {"cause": ["fetch", "busy"], "begin": [4, 30], "end": [30, 484]}


def test_bursts_of_one_instruction_are_one_transfer_until_a_pause(build, program):
    number, instr = first_of(program, Op.MATMUL)
    at = instr.fields["offset"]
    found = transfers(
        build, Burst("weights", 0, at, 32, 5, 50, 53), Burst("weights", 0, at + 32, 32, 9, 54, 57),
        Burst("weights", 0, at + 64, 32, 60, 58 + PAUSE, 61 + PAUSE),
        Burst("weights", 0, at + 96, 32, 99, 63 + 2 * PAUSE, 66 + 2 * PAUSE),
    )  # fmt: skip
    assert found == [("weights", "weights", number, 50, 62 + PAUSE, 96),
                     ("weights", "weights", number, 63 + 2 * PAUSE, 67 + 2 * PAUSE, 32)]  # fmt: skip


def test_ports_do_not_end_each_others_transfers(build, program):
    weights, instr = first_of(program, Op.MATMUL)
    load, table = first_of(program, Op.LOAD)
    image, _ = first_of(program, Op.IMAGE)
    store, _ = first_of(program, Op.STORE)
    found = transfers(
        build, Burst("weights", 0, instr.fields["offset"], 32, 1, 10, 13),
        Burst("program", 1, table.fields["offset"], 16, 2, 11, 12),
        Burst("weights", 0, instr.fields["offset"] + 32, 32, 3, 14, 17), Burst("input", 1, 0, 16, 4, 18, 19),
        Burst("program", 1, build.compiled.entries["digit"], 64, 5, 20, 27), Burst("output", 2, 0, 8, 6, 30, 30),
    )  # fmt: skip
    assert found == [
        ("weights", "weights", weights, 10, 18, 64), ("data in", "tables", load, 11, 13, 16),
        ("data in", "image", image, 18, 20, 16), ("data in", "program", None, 20, 28, 64),
        ("data out", "output", store, 30, 31, 8),
    ]  # fmt: skip


def test_the_same_weights_again_are_of_the_next_instruction_that_fetches_them(build, program):
    """As if the program had all of its products twice."""
    number, instr = first_of(program, Op.MATMUL)
    twice = replace(build.compiled, instructions={"digit": program[:-1] + program})
    at, count = instr.fields["offset"], len(program) - 1
    found = transfers(replace(build, compiled=twice), Burst("weights", 0, at, 32, 1, 10, 13),
                      Burst("weights", 0, at + 32, 32, 3, 40, 43), Burst("weights", 0, at, 32, 5, 50, 53))  # fmt: skip
    assert [of for _, _, of, *_ in found] == [number, number, number + count]


def test_shares_of_weight_ports(build, program):
    """A port's offset is within its share: with two ports half of the region's. What comes over both is one
    transfer."""
    number, instr = [(number, instr) for number, instr in enumerate(program)
                     if instr.op == Op.MATMUL and instr.fields.get("bytes")][2]  # fmt: skip
    two = replace(build, params=replace(build.params, weight_bus=128, weight_ports=2))
    at = instr.fields["offset"] // 2
    found = transfers(two, Burst("weights", 0, at, 16, 1, 10, 11), Burst("weights", 3, at, 16, 2, 12, 13))
    assert found == [("weights", "weights", number, 10, 14, 32)]


def test_a_burst_that_nobody_asked_for_is_of_no_instruction(build):
    assert transfers(build, Burst("weights", 0, len(build.compiled.weights) + 4096, 32, 1, 10, 13)) == [
        ("weights", "weights", None, 10, 14, 32)
    ]
