"""A timeline from the cycle model, where there is no simulation: when instructions run, what holds the array up.

The model knows how many cycles an instruction waits for each cause, not when: the waits come first here, then the
steps. It does not follow the bursts, so there are no transfers.
"""

from __future__ import annotations

from hwgen.build import Build
from hwgen.estimate.cycles import CAUSES, START_UP, CycleEstimate
from hwgen.machine.isa import UNITS
from hwgen.report.timeline import BUSY, Causes, Instructions, Timeline, Transfers

__all__ = ["estimated"]

UNIT_OF = {op: unit for unit, ops in UNITS.items() for op in ops}


def estimated(build: Build, task: str, guess: CycleEstimate) -> Timeline:
    """Of an estimate of this task's program."""
    program = build.compiled.instructions[task]
    # END, and what an empty queue had to gather, take no time.
    ran = [step if step.end > step.begin else None for step in guess.steps]
    return Timeline(
        source="estimate", model=build.model.model.name, task=task, batch=build.compiled.batch, cycles=guess.cycles,
        instructions=Instructions(
            name=[instr.name for instr in program], op=[instr.op.name for instr in program],
            unit=[UNIT_OF.get(instr.op, "") for instr in program],
            begin=[None if step is None else round(step.begin) for step in ran],
            end=[None if step is None else round(step.end) for step in ran],
        ),
        causes=_causes(guess),
        transfers=Transfers(port=[], kind=[], instruction=[], asked=[], begin=[], end=[], bytes=[]),
    )  # fmt: skip



def _causes(guess: CycleEstimate) -> Causes:
    """One behind the other, from the first to the last cycle."""
    found = Causes(cause=[], begin=[], end=[])
    at = 0.0

    def add(cause: str, cycles: float) -> None:
        nonlocal at
        begin, at = round(at), at + cycles
        if round(at) == begin:
            return
        if found.cause and found.cause[-1] == cause:
            found.end[-1] = round(at)
        else:
            found.cause.append(cause)
            found.begin.append(begin)
            found.end.append(round(at))

    add("fetch", START_UP)
    for step in guess.steps:
        for cause in CAUSES:
            add(cause, step.stalls.get(cause, 0.0))
        add(BUSY, step.busy)
    add("fetch", guess.cycles - at)
    return found
