"""What the harness is asked to run, on which memory, and what comes of it.

Tested by tests/sim/test_harness.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["CASE", "Burst", "Cause", "Disturbance", "Job", "JobResult", "Probe", "Span", "Timing"]

#: Of a build that `hwgen verify` saved: how it is to be simulated.
CASE = "case.json"


@dataclass(frozen=True)
class Probe:
    """Words first .. first + count - 1 of the memory instance `path`, `width` bits each."""

    path: str
    first: int
    count: int
    width: int


@dataclass(frozen=True)
class Disturbance:
    """What befalls a run, in cycles since its start. Ports are bits: gmem0 reads, gmem1 reads, gmem1 writes.

    `reset` ends the job without a result; `late` (beats, cycles): so many cycles after it each port gets so many beats
    or responses that nobody waits for; it takes no address before the first of them. A `silent` port (bits, cycle)
    answers nothing from that cycle on, until a job that begins with all ports being `heard` again, so many cycles
    before its start.
    """

    stop: int | None = None  #: to the write of the stop bit
    reset: int | None = None
    late: tuple[int, int] = (0, 0)
    silent: tuple[int, int] | None = None
    heard: int | None = None

    def words(self) -> str:
        """As in the job file."""
        reset = None if self.reset is None else (self.reset, *self.late)
        values = {"stop": self.stop, "reset": reset, "silent": self.silent, "heard": self.heard}
        lists = {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}
        return "".join(f" {name} {' '.join(map(str, v))}" for name, v in lists.items() if v != (None,))


@dataclass(frozen=True)
class Job:
    """One run of a program. `probes` names the set of probes to take, if any. `memory`: program and weights of this
    job, if not those of the run.

    `fault` (port, beat) answers that beat with an error: 0 and 1 are reads of gmem0 and gmem1, 2 write responses of
    gmem1, 3, 4 and 5 reads of gmem2, gmem3 and gmem4.
    """

    entry: int
    input: bytes
    output_bytes: int
    probes: str | None = None
    batch: int = 1
    input_stride: int = 0
    output_stride: int = 0
    fault: tuple[int, int] | None = None
    memory: tuple[bytes, bytes] | None = None
    watchdog: int = 0  #: the register of this name
    disturbance: Disturbance = Disturbance()


@dataclass(frozen=True)
class Timing:
    """The memory: latency in cycles, chance of a stall per port and cycle, seed, beats of the longest burst it takes;
    and when to give up on a job.

    `jitter`: up to so many cycles more for each burst that is read. `weight_latency`: of each weight port in place of
    `latency`; those behind the last one named have `latency`."""

    latency: int = 40
    stall_percent: int = 0
    seed: int = 1
    watchdog: int = 20_000_000
    longest_burst: int = 256
    jitter: int = 0
    weight_latency: tuple[int, ...] = ()

    @property
    def commands(self) -> list[str]:
        """In a job file."""
        numbers = (self.latency, self.stall_percent, self.seed, self.watchdog, self.jitter, len(self.weight_latency))
        timing = " ".join(map(str, (*numbers, *self.weight_latency)))
        return [f"timing {timing}", f"burst {self.longest_burst}"]


@dataclass(frozen=True)
class Span:
    """An instruction on its unit (`hwgen.machine.isa.UNITS`), in cycles since the job's start: from `begin`, when the
    unit took it up, to `retire`, when all its writes had been made."""

    unit: str
    instruction: int
    begin: int
    retire: int


@dataclass(frozen=True)
class Cause:
    """What the cycles from `begin` to `end` (behind the last) went to: the counter of the register map that counted."""

    counter: str
    begin: int
    end: int


@dataclass(frozen=True)
class Burst:
    """An AXI burst: region (program, weights, input, output), port as in `Job.fault`, place in the region (of a weight
    port: in its share) and size in bytes, in which cycles since the job's start its address, its first and its last
    beat were taken."""

    region: str
    port: int
    offset: int
    bytes: int
    asked: int
    first: int
    last: int


@dataclass
class JobResult:
    """`error` and `error_index` are the registers of these names, zero after a normal end.

    `dumps[instruction]` has one uint8 array [words, bytes] per probe, in the order of the probe set. `timeline`, if it
    was asked for, is ordered by retirement; with it come the causes, without a gap from the first to the last cycle
    that the counter `cycles` counts, and the bursts, by the cycle of their last beat.
    """

    output: bytes = b""
    cycles: int = 0
    error: int = 0
    error_index: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    dumps: dict[int, list[np.ndarray]] = field(default_factory=dict)
    timeline: list[Span] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
