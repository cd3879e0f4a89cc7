"""cocotb bench of the issuer: instructions back to back, every cycle against the model's schedule."""

from itertools import pairwise

import cocotb

from hwgen.machine.isa import NO_WAIT
from tests.rtl.engine.issue_model import CONTEXT, MATMUL, SCORE
from tests.rtl.engine.issue_play import HW, SCORE_SETTLE, SETTLE, Bench, openings

#: From the start pulse of an instruction that finds the issuer idle to its first step.
IDLE_START = 7
#: So many steps of an instruction's last pass hide the planning of the next instruction, of another pass that of the
#: next pass.
LONG, LONG_INNER = 4, 3


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
