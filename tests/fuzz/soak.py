"""A machine that is never left alone: `python -m tests.fuzz.soak --cycles N --seed S --machine M`.

Models, tasks and batches in turn, under random stalls, with faults of the buses, stop bits, watchdogs and resets among
them. Each undisturbed run is right to the bit; no run writes a byte outside of its output, or takes for ever.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hwgen.machine.regmap import Error
from sim.harness import Disturbance, Job, JobResult, Timing
from tests.system.helpers import OFFSETS, Work, harness
from tests.system.test_models import HARDWARE

__all__ = ["chunk", "soak", "works"]

#: Runs of one process; cycles of the longest run of a model, about.
RUNS, LONG = 60, 20_000
#: What may end a disturbed run.
ENDS = {Error.NONE, Error.STOPPED, Error.WATCHDOG, Error.READ_GMEM0, Error.READ_GMEM1, Error.WRITE_GMEM1}
#: A run that was undisturbed, by model, task and number of its images; else None.
Run = tuple[Work, str, int] | None


def works(number: int) -> list[Work]:
    """All models of a machine of the system tests, with batches if it has room for them."""
    hardware = HARDWARE[number]
    return [work for batch in {1, hardware.batch} for work in hardware.works(2, batch)]


def chunk(dice: Random, models: Sequence[Work]) -> tuple[list[Job], list[Run]]:
    """Jobs, and what each of them is if nothing befalls it."""
    jobs: list[Job] = []
    runs: list[Run] = []
    for _ in range(RUNS):
        work = dice.choice(models)
        task, number = dice.choice(work.tasks), dice.randrange(2)
        compiled = work.compiled
        job = Job(compiled.entries[task], work.input(number), compiled.output_bytes[task], f"{id(work)}.{task}",
                  memory=(compiled.program, compiled.weights))  # fmt: skip
        moment = dice.randrange(1, LONG)
        bad = dice.choice(["none"] * 6 + ["stop", "fault", "watchdog", "reset"])
        if bad == "stop":
            job = replace(job, disturbance=Disturbance(stop=moment))
        elif bad == "fault":
            port = dice.randrange(3)
            job = replace(job, fault=(port, dice.randrange(3 if port == 2 else 200)))
        elif bad == "watchdog":
            job = replace(job, watchdog=moment)
        elif bad == "reset":
            late = (dice.randrange(4), dice.randrange(100)) if dice.randrange(2) else (0, 0)
            job = replace(job, disturbance=Disturbance(reset=moment, late=late))
        jobs.append(job if bad == "none" else replace(job, probes=None))
        runs.append((work, task, number) if bad == "none" else None)
    return jobs, runs


def soak(dice: Random, models: Sequence[Work], cycles: int) -> tuple[int, Counter[str], list[str]]:
    """Cycles run, how runs ended, and what was wrong."""
    probes = {f"{id(work)}.{task}": work.probes[task].ranges for work in models for task in work.tasks}
    ran, ends, wrong = 0, Counter[str](), list[str]()
    while ran < cycles:
        jobs, runs = chunk(dice, models)
        timing = Timing(dice.randrange(3, 80), stall_percent=dice.choice([0, 10, 40]), seed=dice.randrange(1 << 30),
                        jitter=dice.choice([0, 30]), watchdog=10 * LONG)  # fmt: skip
        found = harness(models[0].p).run(jobs, program=b"", weights=b"", probes=probes, counters=OFFSETS, timing=timing)
        ran += sum(one.cycles for one in found)
        for number, (job, run, one) in enumerate(zip(jobs, runs, found, strict=True)):
            ends["reset" if job.disturbance.reset is not None else Error(one.error).name] += 1
            if text := fault(run, one):
                wrong.append(f"after {ran} cycles, run {number} of its {RUNS}: {text}")
    return ran, ends, wrong


def fault(run: Run, found: JobResult) -> str | None:
    """What is wrong with a run."""
    code = Error(found.error)
    if run is None:
        return None if code in ENDS else f"{code.name} of a run that something befell"
    work, task, number = run
    if code != Error.NONE:
        return f"{code.name} of a run that nothing befell"
    difference = work.difference(task, number, found)
    return str(difference) if difference else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--machine", type=int, default=1, choices=range(len(HARDWARE)), help="of the system tests")
    given = parser.parse_args()
    ran, ends, wrong = soak(Random(given.seed), works(given.machine), given.cycles)
    print("\n".join([*wrong, f"{ran} cycles, {sum(ends.values())} runs, {len(wrong)} wrong; {dict(ends)}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
