"""The performance counters: every cycle has one cause, every byte a purpose, and attention moves none."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import pytest

from hwgen.compiler.layout import div_up
from hwgen.compiler.program import Instr
from hwgen.machine import regmap
from hwgen.machine.isa import BYTES, Dest, Op
from hwgen.rtl.emit import accelerator_verilog
from hwgen.rtl.memory import axi, stripes
from sim.harness import Job, JobResult, Timing
from tests.random_model import random_images
from tests.system.helpers import OFFSETS, Work, assert_same, harness, queues
from tests.system.test_models import HARDWARE, SMALL
from tests.system.test_routing import (
    EXPERTS,
    all_equal,
    as_drawn,
    description,
    edit_gates,
    equal_pairs,
    hardware,
    one_takes_all,
)

TIMINGS = [Timing(5), Timing(60), Timing(400), Timing(30, stall_percent=40, seed=3)]


@pytest.fixture(scope="module")
def works() -> list[Work]:
    """All tokens to one expert, some experts without any, none without; some with all weights packed. Beats of weights
    are ring words, of which the packed matrices have odd numbers."""
    drawn = description("softmax_topk")
    p = hardware(drawn)
    assert p.weight_bus == 8 * p.ring_bytes
    descs = [edit_gates(drawn, case) for case in (one_takes_all, as_drawn, equal_pairs)]
    descs.append(description("topk_softmax", winners=(EXPERTS,)))
    descs += [edit_gates(description("softmax_topk", narrow=1), case) for case in (one_takes_all, as_drawn)]
    return [Work(desc, p, random_images(desc, 1, seed=2)) for desc in descs]


@pytest.fixture(scope="module")
def results(works) -> list[tuple[Work, str, JobResult]]:
    """All tasks of all models at three latencies and under stalls, none of them different from the golden model."""
    runs = [(work, task, 0) for work in works for task in work.tasks]
    machine = harness(works[0].p)
    found = [assert_same(machine, runs, timing, alone=True) for timing in TIMINGS]
    return [(work, task, result) for each in found for (work, task, _), result in zip(runs, each, strict=True)]


def instructions(work: Work, task: str, *ops: Op) -> Iterator[tuple[int, dict[str, int]]]:
    """Those with the opcodes: number and fields."""
    for index, instr in enumerate(work.compiled.instructions[task]):
        if instr.op in ops:
            yield index, instr.fields


def beats(work: Work, task: str, *ops: Op) -> int:
    """Bytes that instructions move on the data port."""
    beat = work.p.data_bus // 8
    return sum(div_up(fields["bytes"], beat) * beat for _, fields in instructions(work, task, *ops))


def streams(work: Work, task: str) -> tuple[int, list[list[int]]]:
    """Bytes of the weights that have rows to work on; per layer, of each matrix of an expert without any."""
    needed, useless = 0, {}
    of, tensors = queues(work.desc, work.compiled, task), work.tensors(task, 0)
    for index, fields in instructions(work, task, Op.MATMUL):
        if index in of and not len(tensors[of[index]]):
            useless.setdefault(of[index].split(".")[1], []).append(fields["bytes"])
        else:
            needed += fields["bytes"]
    return needed, list(useless.values())


def weight_bytes(counters: dict[str, int]) -> int:
    """Of all weight ports; those that are not there count nothing."""
    return sum(counters[f"gmem{number}_read_bytes"] for number in (0, 2, 3, 4))


def guesses(useless: list[list[int]]) -> set[int]:
    """What may have been fetched in vain: of each layer the first streams."""
    sums = {0}
    for sizes in useless:
        sums = {total + part for total in sums for part in accumulate(sizes, initial=0)}
    return sums


def test_array_steps(results):
    """As many as the loops of the instructions have."""
    for work, task, result in results:
        of, tensors, t = queues(work.desc, work.compiled, task), work.tensors(task, 0), work.p.t
        matmuls = attention = 0
        for index, f in instructions(work, task, Op.MATMUL):
            rows = (0, len(tensors[of[index]])) if index in of else (f["row_begin"], f["row_end"])
            matmuls += f["tiles"] * f["k_steps"] * (div_up(rows[1], t) - rows[0] // t)
        for _, f in instructions(work, task, Op.ATTENTION):
            rows = div_up(f["row_end"], t) - f["row_begin"] // t
            attention += rows * (f["key_tiles"] * f["k_steps"] + f["tiles"] * f["pv_steps"])
        assert result.counters["attention_busy"] == attention
        assert result.counters["array_busy"] == matmuls + attention


def test_weight_bytes(results):
    """Each stream once; those of experts without tokens only as far as they were asked for before that was known."""
    seen = set()
    for work, task, result in results:
        needed, useless = streams(work, task)
        wasted = result.counters["gmem0_wasted_bytes"]
        assert weight_bytes(result.counters) == needed + wasted
        assert wasted in guesses(useless)
        seen |= {("in vain", wasted > 0), ("spared", wasted < sum(map(sum, useless))), ("empty", bool(useless))}
    assert len(seen) == 6


@pytest.mark.parametrize("shape", HARDWARE, ids=lambda shape: f"{shape.t}x{shape.c}x{shape.k}")
def test_packed_weight_bytes(shape):
    """Also where a ring word is made of several beats, and (in whole beats) where a beat has several words."""
    work = shape.works(1)[-1]
    assert len(work.desc.model.weight_bits) > 10
    found = assert_same(harness(work.p), [(work, task, 0) for task in work.tasks])
    for task, result in zip(work.tasks, found, strict=True):
        needed, useless = streams(work, task)
        wasted = result.counters["gmem0_wasted_bytes"]
        assert wasted in guesses(useless)
        filled = weight_bytes(result.counters) - needed - wasted  # up to whole beats
        assert filled == 0 or (0 < filled and work.p.ring_bytes < work.p.weight_bus // 8)


def test_data_bytes(results):
    """Program, image, position table, LayerNorm parameters and outputs, nothing else."""
    for work, task, result in results:
        model, p = work.desc.model, work.p
        read = [instr for instr in work.compiled.instructions[task] if instr.op in (Op.IMAGE, Op.LOAD)]
        norms = 2 * len(model.layers) + 1  # of all heads here
        words = div_up(model.dim, p.c)
        assert sum(instr.fields["bytes"] for instr in read if instr.op == Op.IMAGE) == work.images[0].size
        assert loaded(read, Dest.X) == 2 * p.c * words * model.tokens
        assert loaded(read, Dest.NORM) == 8 * p.c * words * norms
        program = BYTES * len(work.compiled.instructions[task])
        assert result.counters["gmem1_read_bytes"] == program + beats(work, task, Op.IMAGE, Op.LOAD)
        assert result.counters["gmem1_write_bytes"] == beats(work, task, Op.STORE)


def loaded(instrs: Sequence[Instr], dest: Dest) -> int:
    return sum(instr.fields["bytes"] for instr in instrs if instr.op == Op.LOAD and instr.fields["dest"] == dest)


def test_attention_moves_no_bytes(works):
    """Without its ATTENTION instructions a program reads their own words less and nothing else."""
    drawn, task = works[1].desc, "extreme"
    work = Work(edit_gates(drawn, all_equal), works[0].p, works[0].images)  # whatever attention says, the same experts
    machine, compiled = harness(work.p), work.compiled
    kept = [instr for instr in compiled.instructions[task] if instr.op != Op.ATTENTION]
    count = len(compiled.instructions[task]) - len(kept)
    assert count == drawn.model.heads * len(drawn.model.layers)
    tables = compiled.program[: min(compiled.entries.values())]
    for timing in TIMINGS:
        programs = (compiled.instructions[task], kept)
        jobs = [
            Job(len(tables), work.input(0), compiled.output_bytes[task],
                memory=(tables + b"".join(instr.encode() for instr in program), compiled.weights))
            for program in programs
        ]  # fmt: skip
        both = machine.run(jobs, program=b"", weights=b"", counters=OFFSETS, timing=timing)
        assert [result.error for result in both] == [0, 0]
        whole, without = (result.counters for result in both)
        assert whole["attention_busy"] > 0 and whole["kv_read_bytes"] > 0
        assert without["attention_busy"] == without["kv_read_bytes"] == 0
        assert whole["gmem1_read_bytes"] - without["gmem1_read_bytes"] == BYTES * count
        assert whole["gmem1_write_bytes"] == without["gmem1_write_bytes"]
        weights = [weight_bytes(counters) - counters["gmem0_wasted_bytes"] for counters in (whole, without)]
        assert weights[0] == weights[1]


@pytest.mark.parametrize("shape", HARDWARE, ids=lambda shape: f"{shape.t}x{shape.c}x{shape.k}")
def test_key_and_value_bytes(shape):
    """A step reads one word of C*K bytes, however many rows of T share it."""
    assert {4, 8, 16, 32} < {each.t for each in HARDWARE}
    work = shape.works(1)[0]
    for result in assert_same(harness(work.p), [(work, task, 0) for task in work.tasks]):
        counters = result.counters
        assert counters["kv_read_bytes"] == shape.c * shape.k * counters["attention_busy"] > 0


def test_byte_counters_saturate(monkeypatch):
    """With so few bits that they do: ports show their largest value (others: tests/rtl/common/test_counter.py)."""
    bits = 9
    work = SMALL.works(1)[0]
    runs = [(work, task, 0) for task in work.tasks]
    true = assert_same(harness(work.p), runs)
    limits = {"gmem0_read_bytes": work.p.weight_bus // 8, "gmem1_read_bytes": work.p.data_bus // 8,
              "gmem1_write_bytes": work.p.data_bus // 8}  # fmt: skip
    for name in limits:
        monkeypatch.setitem(regmap.BY_NAME, name, replace(regmap.BY_NAME[name], bits=bits))
    for module in (axi, stripes):
        monkeypatch.setattr(module, "COUNTER_BITS", bits)
    narrow = harness(work.p, accelerator_verilog(work.p))
    jobs = [Job(work.compiled.entries[task], work.input(0), work.compiled.output_bytes[task])
            for task in work.tasks]  # fmt: skip
    found = narrow.run(jobs, program=work.compiled.program, weights=work.compiled.weights, counters=OFFSETS)
    for wide, result in zip(true, found, strict=True):
        largest = {name: (1 << bits) - limit for name, limit in limits.items()}
        expected = {name: min(value, largest.get(name, value)) for name, value in wide.counters.items()}
        assert result.counters == expected
        assert sum(value != expected[name] for name, value in wide.counters.items()) >= 2
