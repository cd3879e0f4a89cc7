"""The analytic cycle model: by hand on small programs, and what must hold for every program."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hwgen.compiler import Instr, auto_params, compile_model
from hwgen.estimate.cycles import DISPATCH, START_UP, estimate, usual_lengths
from hwgen.machine.isa import NO_WAIT, Dest, Op, Source
from hwgen.machine.params import HwParams
from tests.random_model import random_description

P = HwParams(t=4, c=8, k=8, weight_bus=128, weight_depth=256, instruction_queue=64)
BESIDE = {f"beside_{unit}": 1 for unit in ("norm", "router", "mover", "data")}
#: 2 tiles of 1 parameter word and 16 steps: 34 ring words of 64 bytes, 4 beats each.
MATMUL = {"dest": Dest.H, "source": Source.Y, "k_steps": 16, "tiles": 2, "bytes": 34 * 64}
#: 16 rows are 4 row tiles.
ROWS = {"row_begin": 0, "row_end": 16}


def run(*instructions, p=P, latency=10, queue_lengths=None):
    program = (*(Instr(op, fields, op.name) for op, fields in instructions), Instr(Op.END, {}, "end"))
    compiled = SimpleNamespace(instructions={"task": program}, output_bytes={"task": 1 << 32})
    return estimate(compiled, "task", p, latency=latency, queue_lengths=queue_lengths)


def test_weights_are_waited_for():
    """The last step of the first row tile comes with the last of its weights; the other row tiles wait for nothing."""
    guess = run((Op.MATMUL, MATMUL | ROWS))
    assert guess.array_busy == 2 * 4 * 16
    assert guess.stalls["weights"] == pytest.approx(34 * 4 - (3 * 16 + 2 + 16), abs=20)
    wide = run((Op.MATMUL, MATMUL | ROWS), p=replace(P, weight_bus=512))
    assert wide.stalls["weights"] < 40


def test_packed_weights_come_in_half_the_time():
    """Eight tiles of a parameter word and 16 packed words; a wide bus brings no more than a word per cycle."""
    long = MATMUL | {"row_end": 4, "tiles": 8, "bytes": 8 * 17 * 64}
    narrow = long | {"narrow": 1, "bytes": 8 * (64 + 16 * 32)}
    guess, wide = run((Op.MATMUL, narrow)), run((Op.MATMUL, long))
    assert guess.dram_bytes["weights"] == 8 * (64 + 16 * 32)
    assert wide.cycles - guess.cycles == pytest.approx(8 * 16 * (4 - 2), abs=2)
    fast = replace(P, weight_bus=512)
    assert run((Op.MATMUL, narrow), p=fast).cycles == run((Op.MATMUL, long), p=fast).cycles


def test_independent_matmuls_follow_without_a_pause():
    pair = [(Op.MATMUL, MATMUL | ROWS)] * 2
    serial = run(*pair)
    free = {"engine_lag": 1, "slack": NO_WAIT} | BESIDE
    overlapped = run(pair[0], (Op.MATMUL, MATMUL | ROWS | free))
    assert serial.stalls["pipeline"] == 2 * overlapped.stalls["pipeline"] > 80  # once more than at the end
    dependent = run(pair[0], (Op.MATMUL, MATMUL | ROWS | free | {"slack": 0}))
    half = run(pair[0], (Op.MATMUL, MATMUL | ROWS | free | {"slack": 20}))
    assert overlapped.cycles < half.cycles == dependent.cycles - 20 < serial.cycles


def test_kept_weights_are_fetched_once():
    kept = MATMUL | {"keep": 1, "row_begin": 0, "row_end": 8}
    again = MATMUL | {"bytes": 0, "row_begin": 8, "row_end": 16, "engine_lag": 1, "slack": NO_WAIT} | BESIDE
    guess = run((Op.MATMUL, kept), (Op.MATMUL, again))
    whole = run((Op.MATMUL, MATMUL | ROWS))
    assert guess.dram_bytes["weights"] == whole.dram_bytes["weights"] == 34 * 64
    assert guess.array_busy == whole.array_busy


def test_ring_holds_up_the_weights():
    """With a ring of two tiles the third tile comes when the first has been used."""
    long = MATMUL | {"row_end": 64, "tiles": 8, "bytes": 8 * 17 * 64}
    programs = [(Op.NORM, {"row_end": 64, "tiles": 64}), (Op.MATMUL, long)]
    small, large = (run(*programs, p=replace(P, weight_depth=depth)) for depth in (34, 256))
    assert small.cycles == pytest.approx(large.cycles, abs=2)
    programs[1] = (Op.MATMUL, long | {"row_end": 4})
    small, large = (run(*programs, p=replace(P, weight_depth=depth)) for depth in (34, 256))
    assert small.stalls["weights"] == pytest.approx(6 * 17 * 4 - 6 * 17, abs=25)
    assert large.stalls["weights"] == 0


def test_units_work_side_by_side():
    """NORM of 64 rows beside a MATMUL costs the dispatch only; behind it, all its cycles."""
    norm = {"row_end": 64, "tiles": 8}
    long = MATMUL | {"row_end": 400}
    alone = run((Op.MATMUL, long))
    beside = run((Op.MATMUL, long), (Op.NORM, norm | {"engine_lag": 7} | BESIDE))
    behind = run((Op.MATMUL, long), (Op.NORM, norm))
    assert beside.cycles - alone.cycles <= DISPATCH
    assert behind.stalls["norm"] == pytest.approx(65 * 8 + 35, abs=10)
    assert behind.cycles - alone.cycles > 65 * 8
    assert beside.unit_busy["norm"] == pytest.approx(behind.unit_busy["norm"], abs=1)


def test_order_fields_say_what_may_be_busy():
    """A MATMUL behind a NORM waits for it, unless it says that it need not."""
    norm = (Op.NORM, {"row_end": 64, "tiles": 8})
    for field in BESIDE:
        behind = run(norm, (Op.MATMUL, MATMUL | ROWS | BESIDE | {field: 0}))
        assert (behind.stalls["norm"] > 400) == (field == "beside_norm")


@pytest.mark.parametrize(("lengths", "wasted"), [([16, 0], 34 * 64), ([0, 16], 34 * 64), ([8, 8], 0)])
def test_experts(lengths, wasted):
    """Weights of an expert without tokens are fetched on suspicion while the router works, and thrown away."""
    experts = [(Op.MATMUL, MATMUL | {"bytes": 34 * 64, "use_queue": 1, "expert": e}) for e in (0, 1)]
    route = (Op.ROUTE, {"row_end": 16, "tiles": 2, "k_steps": 1})
    guess = run(route, *experts, queue_lengths=[lengths])
    assert guess.dram_bytes["wasted_weights"] == wasted
    assert guess.dram_bytes["weights"] == 2 * 34 * 64 - wasted
    assert guess.array_busy == 2 * 16 * sum(-(-rows // 4) for rows in lengths)
    if lengths == [8, 8]:
        assert run(route, *experts) == run(route, *experts, queue_lengths=[usual_lengths(16, 1, 2)])


@pytest.mark.parametrize(
    ("tokens", "top_k", "experts"), [(129, 2, 16), (516, 2, 16), (15, 3, 7), (9, 2, 2), (50, 1, 256)]
)
def test_usual_lengths(tokens, top_k, experts):
    lengths = usual_lengths(tokens, top_k, experts)
    assert len(lengths) == experts
    assert min(lengths) >= 0 and max(lengths) <= tokens
    if top_k < experts:
        assert sum(lengths) == tokens * top_k
    if experts == 16:
        assert lengths.count(0) == 2 and 2 * max(lengths) < 5 * tokens * top_k / experts


def test_weights_of_an_empty_expert_are_not_fetched_once_that_is_known():
    experts = [(Op.MATMUL, MATMUL | {"use_queue": 1, "expert": e}) for e in (0, 1)]
    route = (Op.ROUTE, {"row_end": 16, "tiles": 2, "k_steps": 1})
    late = run(route, *experts, p=replace(P, weight_depth=34, instruction_queue=1), queue_lengths=[[16, 0]])
    assert late.dram_bytes["wasted_weights"] == 0


def test_instructions_come_through_the_queue():
    loads = [(Op.LOAD, {"dest": Dest.X, "bytes": 64, "engine_lag": 7} | BESIDE)] * 20
    quick, slow = (run(*loads, latency=latency).cycles for latency in (10, 300))
    assert slow - quick == pytest.approx(21 * 290, rel=0.2)
    assert run(latency=50).cycles == pytest.approx(2 * START_UP + 50, abs=30)


@pytest.fixture(scope="module", params=[1, 2, 3])
def desc(request):
    return random_description(request.param)


@pytest.mark.parametrize("shape", [(8, 16, 8), (4, 8, 4), (2, 4, 16)])
def test_every_program(desc, shape):
    p = replace(auto_params([desc], *shape), instruction_queue=64)
    compiled = compile_model(desc, p)
    for task, program in compiled.instructions.items():
        guesses = [estimate(compiled, task, p, latency=latency) for latency in (0, 50, 400)]
        for guess in guesses:
            assert guess.array_busy + sum(guess.stalls.values()) == guess.cycles
            assert min(guess.stalls.values()) >= 0
            assert guess.floor <= guess.cycles
            assert max(guess.unit_busy.values()) <= guess.cycles
            assert guess.dram_bytes["program"] == 64 * len(program)
            assert guess.dram_bytes["output"] == compiled.output_bytes[task]
            assert guess.dram_bytes["image"] == compiled.input_bytes
        assert guesses[0].cycles < guesses[1].cycles < guesses[2].cycles
        wide = estimate(compiled, task, replace(p, weight_bus=512, data_bus=512), latency=50)
        assert wide.cycles <= guesses[1].cycles


def test_steps_of_instructions_are_the_run():
    """Steps and stalls of each instruction add up to those of the run; each begins when what it waits for has ended."""
    norm = {"row_begin": 0, "row_end": 16, "tiles": 2}
    guess = run((Op.MATMUL, MATMUL | ROWS), (Op.NORM, norm), (Op.MATMUL, MATMUL | ROWS))
    first, middle, last, end = guess.steps
    assert sum(step.busy for step in guess.steps) == guess.array_busy and (middle.busy, end.busy) == (0, 0)
    for cause, count in guess.stalls.items():
        told = sum(step.stalls.get(cause, 0) for step in guess.steps)
        assert told == pytest.approx(count, abs=2 if cause != "fetch" else 2 * START_UP + 2), cause
    assert first.begin < first.end < middle.begin < middle.end < last.begin < last.end <= guess.cycles
    assert last.stalls["norm"] >= middle.end - middle.begin - 8 and end.begin == end.end
