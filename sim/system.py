"""What both sides of a cocotb run of the whole accelerator exchange: jobs, faults to inject, results.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from sim.harness import Job, JobResult, Probe, Timing

__all__ = ["Fault", "Response", "SystemJob", "SystemResult", "Workload"]


class Response(IntEnum):
    """AXI error responses."""

    SLVERR = 2
    DECERR = 3


@dataclass(frozen=True)
class Fault:
    """Every access of `port` (as in `Job.fault`) to the beat that holds byte `offset` of a region is answered with an
    error; nothing is written there then. `region` is program, weights (weights1, ... at other weight ports), input or
    output."""

    port: int
    region: str
    offset: int
    response: Response = Response.SLVERR


@dataclass(frozen=True)
class SystemJob(Job):
    """A job with more freedom than the C++ harness has."""

    faults: tuple[Fault, ...] = ()
    registers: Mapping[str, int] = field(default_factory=dict)  #: written last, over what the job implies
    reset_after: int | None = None  #: cycles from the start to `ap_rst_n`; the job has no result then
    reset_cycles: int = 3


@dataclass
class SystemResult(JobResult):
    """`violations`: what the hardware did that no AXI slave or driver should see; empty when all is well."""

    violations: list[str] = field(default_factory=list)
    retired: list[int] = field(default_factory=list)  #: instructions, in order
    bytes: list[int] = field(default_factory=list)  #: taken by each of PORTS between start and interrupt
    written: set[int] = field(default_factory=set)  #: offsets in the output region with a strobe
    start_cycles: int = 0  #: of `cycles`, what writing the start bit took
    interrupted: bool = False  #: by a reset


@dataclass(frozen=True)
class Workload:
    """Input of one simulator process."""

    jobs: Sequence[Job]
    program: bytes
    weights: bytes
    probes: Mapping[str, Mapping[int, Sequence[Probe]]]
    counters: Mapping[str, int]
    timing: Timing

    #: In the working directory of the simulator.
    FILE, RESULTS = "workload.pickle", "results.pickle"

    def save(self, directory: Path) -> None:
        (directory / self.FILE).write_bytes(pickle.dumps(self))
