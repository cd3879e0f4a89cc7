"""A short soak; `make fuzz` goes on for ten million cycles."""

from dataclasses import replace
from random import Random

from hwgen.machine.regmap import Error
from sim.harness import JobResult
from tests.fuzz.soak import chunk, fault, soak, works


def test_a_machine_that_is_never_left_alone() -> None:
    ran, ends, wrong = soak(Random(1), works(1), 100_000)
    assert wrong == []
    assert ran >= 100_000 and ends["NONE"] > ends["reset"] > 0
    assert ends.keys() > {"STOPPED", "WATCHDOG"} and ends.keys() & {"READ_GMEM0", "READ_GMEM1", "WRITE_GMEM1"}


def test_faults_are_found() -> None:
    models = works(1)
    jobs, runs = chunk(Random(1), models)
    good = next(run for run in runs if run is not None)
    assert "STOPPED of a run that nothing befell" in str(fault(good, JobResult(error=Error.STOPPED)))
    assert "FIELD of a run that something befell" in str(fault(None, JobResult(error=Error.FIELD)))
    assert fault(None, JobResult(error=Error.WATCHDOG)) is None
    assert fault(good, replace(JobResult(), output=bytes(good[0].compiled.output_bytes[good[1]])))
    assert len(jobs) == len(runs)
