"""Spoilt programs on the RTL for a while: `python -m tests.fuzz.rtl --seconds N --seed S --machine M`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from random import Random

from sim.harness import JobResult, SimulationError, Timing
from tests.fuzz.programs import WATCHDOG, Case, difference, draw, expected
from tests.system.helpers import Work, harness
from tests.system.test_models import HARDWARE

__all__ = ["TIMING", "cases", "machine", "results"]

#: A machine that does not end by its own watchdog is given up.
TIMING = Timing(20, stall_percent=10, watchdog=WATCHDOG + 20_000)
#: Jobs of one process.
CHUNK = 50


@lru_cache
def machine(number: int) -> Work:
    """A model on one of the machines of the system tests."""
    return HARDWARE[number].works(2)[0]


def cases(work: Work, numbers: Iterable[int], seed: int = 0) -> list[Case]:
    return [draw(Random(f"program {seed} {number}"), work) for number in numbers]


def results(work: Work, drawn: Sequence[Case], timing: Timing) -> list[JobResult]:
    """Of all of them, one after another without a reset."""
    return harness(work.p).run([case.job for case in drawn], program=b"", weights=b"", timing=timing)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--machine", type=int, default=1, choices=range(len(HARDWARE)), help="of the system tests")
    given = parser.parse_args()
    work, ends, faults, cycles = machine(given.machine), Counter[str](), 0, 0
    harness(work.p)
    end, first = time.monotonic() + given.seconds, 0
    while time.monotonic() < end:
        drawn = cases(work, range(first, first + CHUNK), given.seed)
        timing = Timing(3 + first % 70, stall_percent=first % 40, seed=first, watchdog=TIMING.watchdog)
        try:
            found = results(work, drawn, timing)
        except SimulationError as error:
            print(f"FAULT among programs {first} to {first + CHUNK - 1}, seed {given.seed}: {error}", flush=True)
            faults, found = faults + 1, []
        for number, (case, one) in enumerate(zip(drawn, found), first):
            want = expected(case, work.p)
            ends["undefined" if want.error is None else want.error.name] += 1
            cycles += one.cycles
            if text := difference(case, work.p, want, one):
                print(f"FAULT program {number}, seed {given.seed}: {case.how}: {text}", flush=True)
                faults += 1
        first += CHUNK
    print(f"{first} programs, {cycles} cycles, {faults} faults; {dict(ends)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
