"""The cycle model's timeline has the estimate's figures, in the order of the program."""

import pytest

from hwgen.estimate.cycles import CAUSES, estimate
from hwgen.machine.isa import Op
from hwgen.report.estimated import estimated
from hwgen.report.timeline import BUSY, check


@pytest.mark.parametrize("latency", [5, 40, 400])
def test_figures(build, latency):
    for task in build.compiled.entries:
        guess = estimate(build.compiled, task, build.params, latency=latency)
        made = check(estimated(build, task, guess), "estimate")
        assert (made.source, made.cycles, made.batch) == ("estimate", guess.cycles, 1)
        causes = made.causes
        assert causes.begin == [0, *causes.end[:-1]] and causes.end[-1] == guess.cycles
        sums = dict.fromkeys((BUSY, *CAUSES), 0)
        for cause, begin, end in zip(causes.cause, causes.begin, causes.end, strict=True):
            sums[cause] += end - begin
        assert sums.pop(BUSY) == guess.array_busy
        for cause, count in sums.items():  # each interval's ends are rounded
            assert count == pytest.approx(guess.stalls[cause], abs=3 + 0.5 * len(causes.cause))
        assert max(end or 0 for end in made.instructions.end) <= guess.cycles


def test_instructions_begin_before_they_end_and_end_never_runs(build):
    guess = estimate(build.compiled, "digit", build.params, latency=40, queue_lengths=[[0, 7, 0, 7]])
    made = estimated(build, "digit", guess).instructions
    program = build.compiled.instructions["digit"]
    assert made.name == [instr.name for instr in program] and made.op[-1] == Op.END.name
    for instr, begin, end in zip(program, made.begin, made.end, strict=True):
        empty = instr.op == Op.GATHER and instr.fields["expert"] in (0, 2)
        assert (begin is None) == (end is None) == (instr.op == Op.END or empty), instr.name
        assert begin is None or begin < end
