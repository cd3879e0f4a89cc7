"""What a board does to a run: resets with data outstanding, the stop bit, the watchdog, memories that do not answer.

Whatever happens, the run ends in bounded time with its code, and the next one is right to the bit.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hwgen.machine.isa import BY_NAME, BYTES, Op
from hwgen.machine.regmap import Error
from hwgen.rtl.control.watchdog import PATIENCE_CYCLES
from sim.harness import Disturbance, Job, JobResult, Timing
from tests.random_model import TASKS, random_images, small_description
from tests.system.helpers import OFFSETS, Work, harness
from tests.system.test_models import SMALL

NAMES = [task["name"] for task in TASKS]
#: Of memories: quick; slow, as real ones are; with stalls.
TIMINGS = [Timing(3), Timing(70), Timing(25, stall_percent=35, seed=7)]
#: Ports as `Disturbance` names them.
WEIGHTS, DATA, WRITES = 1, 2, 4
#: Cycles from the start after which the first weights have been asked for, but not all.
EARLY = 150
#: Cycles from what ends a run to its end, if all ports answer.
PROMPT = 2_000


@pytest.fixture(scope="module")
def work() -> Work:
    desc = small_description()
    return Work(desc, SMALL.works(1)[0].p, random_images(desc, 2, 5))


def good(work: Work, number: int = 0, **more) -> Job:
    """One of the tasks, in turn."""
    task = NAMES[number % 2]
    compiled = work.compiled
    return Job(compiled.entries[task], work.input(number % 2), compiled.output_bytes[task], task, **more)


def patched(work: Work, op: Op, **fields: int) -> tuple[bytes, bytes]:
    """Program and weights, with other values in fields of the first task's first instruction of this kind."""
    program, task = bytearray(work.compiled.program), NAMES[0]
    index = next(i for i, instr in enumerate(work.compiled.instructions[task]) if instr.op == op)
    place = slice(start := work.compiled.entries[task] + index * BYTES, start + BYTES)
    word = int.from_bytes(program[place], "little")
    for name, value in fields.items():
        field = BY_NAME[name]
        word = word & ~((1 << field.bits) - 1 << field.offset) | value << field.offset
    program[place] = word.to_bytes(BYTES, "little")
    return bytes(program), work.compiled.weights


def run(work: Work, jobs: Sequence[Job], timing: Timing) -> list[JobResult]:
    compiled = work.compiled
    return harness(work.p).run(
        jobs, program=compiled.program, weights=compiled.weights, counters=OFFSETS,
        probes={task: work.probes[task].ranges for task in NAMES}, timing=replace(timing, watchdog=200_000),
    )  # fmt: skip


def check(work: Work, number: int, result: JobResult) -> None:
    """It is the undisturbed run `good(work, number)`."""
    assert Error(result.error) == Error.NONE
    assert work.difference(NAMES[number % 2], number % 2, result) is None


def after_each(work: Work, bad: Sequence[Job], timing: Timing) -> list[JobResult]:
    """Results of the bad jobs; the good one that follows each of them is right."""
    jobs = [job for n, each in enumerate(bad) for job in (each, good(work, n))]
    results = run(work, jobs, timing)
    for n in range(len(bad)):
        check(work, n, results[2 * n + 1])
    return results[::2]


@pytest.fixture(scope="module")
def cycles(work) -> dict[Timing, int]:
    """Of the first task without disturbance."""
    return {timing: run(work, [good(work)], timing)[0].cycles for timing in TIMINGS}


@pytest.mark.parametrize("timing", TIMINGS, ids=str)
def test_late_beats_after_a_reset(work, timing, cycles):
    """They come at once, during the set-up of the next run, or while its first address waits to be taken."""
    rng = np.random.default_rng(timing.latency)
    moments = rng.integers(2, cycles[timing], 12)
    late = [(int(rng.integers(1, 5)), int(rng.choice([0, 10, 80, rng.integers(130, 170)]))) for _ in moments]
    bad = [good(work, n, disturbance=Disturbance(reset=int(moment), late=late[n])) for n, moment in enumerate(moments)]
    after_each(work, bad, timing)


@pytest.mark.parametrize("timing", TIMINGS, ids=str)
def test_stop(work, timing, cycles):
    """In every part of a run, two images of a batch and the time between them."""
    size, end = work.compiled.output_bytes[NAMES[0]], cycles[timing]
    stride = -(-size // 64) * 64
    batch = {"batch": 2, "input_stride": 0, "output_stride": stride}
    moments = [*range(1, 2 * end - 200, end // 9), *range(end - 30, end + 10, 3)]
    bad = [replace(good(work, disturbance=Disturbance(stop=moment)), probes=None, output_bytes=stride + size, **batch)
           for moment in moments]  # fmt: skip
    for moment, result in zip(moments, after_each(work, bad, timing), strict=True):
        assert Error(result.error) == Error.STOPPED
        assert moment < result.cycles < moment + PROMPT
        assert result.counters["instructions"] <= 2 * len(work.compiled.instructions[NAMES[0]])
    assert {result.error_index for result in run(work, bad, timing)} > {0}


def test_stop_after_the_last_instruction(work, cycles):
    """Too late to do harm: the run has ended, or ends as it would have."""
    timing = TIMINGS[0]
    bad = [good(work, disturbance=Disturbance(stop=cycles[timing] - early)) for early in range(-3, 12)]
    errors = [Error(result.error) for result in after_each(work, bad, timing)]
    assert set(errors) == {Error.NONE, Error.STOPPED}
    assert errors == sorted(errors)


def test_absurd_attention(work):
    """It would run for hours; the stop bit and the watchdog end it."""
    memory = patched(work, Op.ATTENTION, k_steps=0xFFFF, tiles=0xFFFF)
    job = replace(good(work, memory=memory), probes=None)
    stop, watchdog = replace(job, disturbance=Disturbance(stop=20_000)), replace(job, watchdog=15_000)
    for timing in TIMINGS[1:]:
        stopped, late = after_each(work, [stop, watchdog], timing)
        assert (Error(stopped.error), Error(late.error)) == (Error.STOPPED, Error.WATCHDOG)
        assert 20_000 < stopped.cycles < 20_000 + PROMPT
        assert 15_000 < late.cycles < 15_000 + PROMPT


def test_watchdog(work, cycles):
    """It counts the cycles of an image, not of a run; at the limit and beside it."""
    timing, size = TIMINGS[1], work.compiled.output_bytes[NAMES[0]]
    (alone,) = run(work, [good(work)], timing)
    needed = alone.counters["cycles"]
    enough, short = good(work, watchdog=needed), good(work, watchdog=needed - timing.latency - 30)
    batch = replace(enough, probes=None, batch=3, output_stride=-(-size // 64) * 64, output_bytes=4096)
    results = run(work, [enough, batch, short, good(work, 1), replace(short, watchdog=1), good(work)], timing)
    assert [Error(result.error) for result in results] == [
        Error.NONE, Error.NONE, Error.WATCHDOG, Error.NONE, Error.WATCHDOG, Error.NONE,
    ]  # fmt: skip
    assert results[0].cycles == results[-1].cycles == alone.cycles
    assert results[1].counters["cycles"] > 2 * needed
    check(work, 1, results[3])
    check(work, 0, results[-1])


@pytest.mark.parametrize("port", [WEIGHTS, DATA, WRITES, WEIGHTS | DATA | WRITES])
def test_silent_ports(work, port, cycles):
    """The run ends all the same; the next one is refused as long as the ports owe it anything, and then is right."""
    timing = TIMINGS[1]
    silent = Disturbance(silent=(port, cycles[timing] - 3 * timing.latency if port == WRITES else EARLY))
    late, *refused, heard = run(
        work,
        [
            good(work, watchdog=cycles[timing] + 5_000, disturbance=silent),
            good(work),
            good(work, 1),
            good(work, 1, disturbance=Disturbance(heard=3_000)),
        ],
        timing,
    )
    assert Error(late.error) == Error.WATCHDOG
    assert PATIENCE_CYCLES < late.cycles < PATIENCE_CYCLES + cycles[timing] + 5_000 + PROMPT
    for result in refused:
        assert Error(result.error) == Error.PORTS
        assert result.cycles < 50
        assert result.counters["cycles"] == result.counters["instructions"] == 0
    check(work, 1, heard)


@pytest.mark.parametrize("first", [Error.STOPPED, Error.READ_GMEM0, Error.READ_GMEM1])
def test_silent_ports_keep_the_first_error(work, first, cycles):
    """The wait for a port is bounded after the stop bit and after any fault."""
    timing, port = TIMINGS[2], DATA if first == Error.READ_GMEM0 else WEIGHTS
    stop = 1_000 if first == Error.STOPPED else None
    fault = {Error.READ_GMEM0: (0, 10), Error.READ_GMEM1: (1, 90)}.get(first)
    # Not even the first address is taken; but without a program no weights are asked for.
    silent = Disturbance(silent=(port, EARLY if port == DATA else 0), stop=stop)
    jobs = [good(work, fault=fault, disturbance=silent), good(work), good(work, disturbance=Disturbance(heard=3_000))]
    ended, refused, heard = run(work, jobs, timing)
    assert [Error(ended.error), Error(refused.error)] == [first, Error.PORTS]
    assert PATIENCE_CYCLES < ended.cycles < PATIENCE_CYCLES + PROMPT + 1_000
    check(work, 0, heard)


def test_reset_frees_the_ports(work, cycles):
    """The other way out of a refusal."""
    timing = TIMINGS[1]
    silent = Disturbance(silent=(WEIGHTS, EARLY))
    jobs = [
        good(work, watchdog=cycles[timing], disturbance=silent),
        good(work),
        good(work, disturbance=Disturbance(reset=20, heard=0)),
        good(work, 1),
    ]
    errors = [Error(result.error) for result in run(work, jobs, timing)]
    assert errors == [Error.WATCHDOG, Error.PORTS, Error.NONE, Error.NONE]
