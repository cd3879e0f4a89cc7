"""The C++ Verilator harness from Python: build it once per hardware, then run lists of jobs on it."""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.common.toolchain import cache_dir, find_verilator, lock, run_process, verilator_environment
from hwgen.machine.isa import UNITS
from sim.ports import weight_ports, weight_shares

__all__ = ["Disturbance", "Harness", "Job", "JobResult", "Probe", "SimulationError", "Span", "Timing", "build_harness"]

TOP = "hwgen_accelerator"
SOURCES = ("main.cpp", "jobs.h", "memory.h", "harness.vlt")
#: Flags of the model, of what runs once, and of Verilator's runtime, where the build is to be quick.
QUICK = [f for kind in ("FAST=-O1", "SLOW=-O0", "GLOBAL=-O1") for f in ("-MAKEFLAGS", f"OPT_{kind}")]
#: Bases above 4 GiB and only 64-byte aligned, so that narrow addresses and bursts across 4 KiB show.
ORIGIN, MISALIGNED, GUARD = 0x8_0000_0000, 0x0FC0, 0x1_0000
_HEADER = struct.Struct("<5I")  # job, instruction, number of the probe, words, bytes per stored word


class SimulationError(HwgenError):
    """The simulated hardware broke a rule: it hangs, leaves its memory regions or violates the bus protocol."""


@dataclass(frozen=True)
class Probe:
    """Words first .. first + count - 1 of the memory instance `path`, `width` bits each."""

    path: str
    first: int
    count: int
    width: int


@dataclass(frozen=True)
class Disturbance:
    """What befalls a run, in cycles since its start. Ports are bits by the numbers of `Job.fault`.

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
    """The memory: latency in cycles, chance of a stall per port and cycle, seed; and when to give up on a job.

    `jitter`: up to so many cycles more for each burst that is read. `weight_latency`: of each weight port in place of
    `latency`; those behind the last one named have `latency`."""

    latency: int = 40
    stall_percent: int = 0
    seed: int = 1
    watchdog: int = 20_000_000
    jitter: int = 0
    weight_latency: tuple[int, ...] = ()


@dataclass(frozen=True)
class Span:
    """An instruction on its unit (`hwgen.machine.isa.UNITS`), in cycles since the job's start: from `begin`, when the
    unit took it up, to `retire`, when all its writes had been made."""

    unit: str
    instruction: int
    begin: int
    retire: int


@dataclass
class JobResult:
    """`error` and `error_index` are the registers of these names, zero after a normal end.

    `dumps[instruction]` has one uint8 array [words, bytes] per probe, in the order of the probe set. `timeline`, if it
    was asked for, is ordered by retirement.
    """

    output: bytes = b""
    cycles: int = 0
    error: int = 0
    error_index: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    dumps: dict[int, list[np.ndarray]] = field(default_factory=dict)
    timeline: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class Harness:
    """A compiled accelerator with its memory model. `weight_ports`: bytes of a beat of each."""

    program: Path
    weight_ports: tuple[int, ...]

    def run(
        self,
        jobs: Sequence[Job],
        *,
        program: bytes,
        weights: bytes,
        probes: Mapping[str, Mapping[int, Sequence[Probe]]] | None = None,
        counters: Mapping[str, int] | None = None,
        timing: Timing | None = None,
        trace: Path | None = None,
        timeline: bool = False,
        on_done: Callable[[int], None] | None = None,
    ) -> list[JobResult]:
        """Run the jobs one after another without a reset in between. `counters`: name -> register offset, read after
        each job. `weights`: all of the region; each port gets its share. `trace` needs a harness built with the format
        of that file. `timeline`: when each instruction ran. `on_done` gets the number of jobs done.

        Raises SimulationError when the hardware hangs, breaks the bus protocol or leaves its regions; that it stopped
        with an error code is a result.
        """
        probes = probes or {}
        with tempfile.TemporaryDirectory(prefix="hwgen-sim-") as name:
            work = Path(name)
            commands = self._commands(work, jobs, program, weights, probes, counters or {}, timing or Timing(), trace)
            if timeline:
                commands.append(f"timeline {work / 'timeline.txt'}")
            (work / "jobs.txt").write_text("\n".join([*commands, ""]))

            def progress(line: str) -> None:
                if on_done is not None and line.startswith("done "):
                    on_done(int(line.split()[1]) + 1)

            code = run_process([self.program, work / "jobs.txt"], environment={}, log=work / "log", on_line=progress)
            results = work / "results.txt"
            lines = results.read_text().splitlines() if results.exists() else []
            failed = [line.split(" ", 2) for line in lines if line.startswith("failed ")]
            if failed:
                raise SimulationError(
                    "simulation", f"job {failed[0][1]}", expected="the program to run to its end", found=failed[0][2]
                )
            if code != 0:
                tail = "\n".join((work / "log").read_text().splitlines()[-5:])
                raise SimulationError("simulation", expected="the harness to finish", found=f"exit code {code}: {tail}")
            done = _read_results(lines)
            _read_dumps(work / "dumps.bin", jobs, probes, done)
            if timeline:
                _read_timeline(work / "timeline.txt", done)
            return done

    def _commands(
        self, work: Path, jobs: Sequence[Job], program: bytes, weights: bytes,
        probes: Mapping[str, Mapping[int, Sequence[Probe]]], counters: Mapping[str, int], timing: Timing,
        trace: Path | None,
    ) -> list[str]:  # fmt: skip
        """The job file; see `read_jobs` in templates/harness/jobs.h."""
        cursor = ORIGIN

        def place(size: int) -> int:
            nonlocal cursor
            base = cursor + MISALIGNED
            cursor = -(-(base + size + GUARD) // 4096) * 4096
            return base

        def load(name: str, data: bytes) -> int:
            (work / name).write_bytes(data)
            base = place(len(data))
            loads.append(f"load {base} {work / name}")
            return base

        loads: list[str] = []
        latencies = timing.weight_latency
        lines = [f"timing {timing.latency} {timing.stall_percent} {timing.seed} {timing.watchdog} {timing.jitter} "
                 + " ".join(map(str, (len(latencies), *latencies)))]  # fmt: skip
        lines += [f"counter {name} {offset}" for name, offset in counters.items()]
        for name, by_instruction in probes.items():
            for instruction, ranges in by_instruction.items():
                lines += [f"probe {name} {instruction} {p.first} {p.count} {p.path}" for p in ranges]
        inputs: dict[bytes, int] = {}
        memories: dict[tuple[bytes, bytes], list[str]] = {}
        for number, job in enumerate(jobs):
            memory = job.memory or (program, weights)
            if memory not in memories:
                shares = [
                    f"{load(f'weights{number}.{port}.bin', share)} {len(share)}"
                    for port, share in enumerate(weight_shares(memory[1], self.weight_ports))
                ]
                memories[memory] = [
                    f"program {load(f'program{number}.bin', memory[0])} {len(memory[0])}",
                    " ".join(["weights", str(len(shares)), *shares]),
                ]
            lines += memories[memory]
            if job.input not in inputs:
                inputs[job.input] = load(f"input{number}.bin", job.input)
            lines.append(
                f"job {job.probes or '-'} {job.entry} {inputs[job.input]} {len(job.input)} "
                f"{place(job.output_bytes)} {job.output_bytes} {job.batch} {job.input_stride} {job.output_stride} "
                "{} {}".format(*(job.fault or (-1, 0)))
                + f" watchdog {job.watchdog}{job.disturbance.words()}"
            )
        lines += [f"results {work / 'results.txt'}", f"dumps {work / 'dumps.bin'}"]
        if trace is not None:
            lines.append(f"trace {trace.absolute()}")
        return [f"dram {ORIGIN} {cursor - ORIGIN}", *loads, *lines]


def _read_results(lines: Sequence[str]) -> list[JobResult]:
    done = []
    for line in lines:
        kind, *words = line.split(" ")
        if kind == "job":
            pairs = list(zip(words[1::2], map(int, words[2::2]), strict=True))
            run = dict(pairs[:3])  # the rest are counters, of which one may be called `cycles`, too
            done.append(JobResult(b"", run["cycles"], run["error"], run["error_index"], dict(pairs[3:])))
        elif kind == "output":
            done[-1].output = bytes.fromhex(words[0])
    return done


def _read_dumps(
    path: Path, jobs: Sequence[Job], probes: Mapping[str, Mapping[int, Sequence[Probe]]], done: Sequence[JobResult]
) -> None:
    data = path.read_bytes() if path.exists() else b""
    position = 0
    while position < len(data):
        job, instruction, number, count, stored = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        words = np.frombuffer(data, np.uint8, count * stored, position).reshape(count, stored)
        position += count * stored
        probe = probes[jobs[job].probes or "-"][instruction][number]
        done[job].dumps.setdefault(instruction, []).append(words[:, : -(-probe.width // 8)])


def _read_timeline(path: Path, done: Sequence[JobResult]) -> None:
    units = tuple(UNITS)
    for line in path.read_text().splitlines():
        job, unit, instruction, begin, retire = map(int, line.split())
        done[job].timeline.append(Span(units[unit], instruction, begin, retire))


def build_harness(
    verilog: str,
    *,
    header: str,
    sources: Path,
    cache: Path | None = None,
    trace: str | None = None,
    optimize: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> Harness:
    """Compile the harness for the Verilog of one accelerator, or take it from the cache.

    verilog: text of the top module `hwgen_accelerator` and all below; header: text of `hwgen_regs.h`; sources:
    directory of `SOURCES`; trace: vcd or fst, the waveforms it can write (fst: `hwgen.common.toolchain.trace_format`);
    optimize: -O2, for very long runs at most; on_line: gets the compiler's output. Takes 15 s and more when not cached.
    """
    tool = find_verilator()
    ports = weight_ports(verilog)
    texts = {"hwgen_accelerator.v": verilog, "hwgen_regs.h": header}
    texts |= {name: (sources / name).read_text() for name in SOURCES}
    # An 8 x 16 x 8 array compiles 2.4 times as long with -O2 -march=native as with -O1 and simulates no faster.
    options = [
        "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "unique", "--noassert", "-Wno-fatal",
        "-Wno-lint", "-Wno-style", "-Wno-UNOPTFLAT", "--top-module", TOP, "-j", "2", "-o", "harness",
        *([f"--trace-{trace}"] if trace else []), "-CFLAGS", "-std=c++17",
        "-CFLAGS", f"-DHWGEN_WEIGHT_PORTS={len(ports)}",
        *(["-CFLAGS", "-O2"] if optimize else QUICK),
    ]  # fmt: skip
    key = hashlib.sha256(repr((texts, options, tool.version)).encode()).hexdigest()[:24]
    home = (cache or cache_dir()) / "harness"
    program = home / key
    try:
        home.mkdir(parents=True, exist_ok=True)
        with lock(home / f"{key}.lock"):
            if not program.exists():
                with tempfile.TemporaryDirectory(prefix="build-", dir=home) as name:
                    _compile(Path(name), texts, options, on_line)
                    shutil.move(Path(name) / "obj_dir" / "harness", program)
    except OSError as error:
        raise HwgenError(
            str(error.filename or home),
            expected="a cache directory that can be written",
            found=error.strerror or str(error),
            mend="set HWGEN_CACHE to another directory",
        ) from None
    return Harness(program, ports)


def _compile(work: Path, texts: Mapping[str, str], options: Sequence[str],
             on_line: Callable[[str], None] | None) -> None:  # fmt: skip
    for name, text in texts.items():
        (work / name).write_text(text)
    sources = ["harness.vlt", "hwgen_accelerator.v", "main.cpp"]
    command = ["verilator", *options, "-CFLAGS", f"-I{work}", *sources]
    log = work / "build.log"
    if run_process(command, environment=verilator_environment(), log=log, cwd=work, on_line=on_line):
        lines = log.read_text().splitlines()
        wrong = [line for line in lines if "rror" in line] or lines[-5:]
        raise HwgenError(
            "verilator",
            expected="the harness to compile",
            found="\n    ".join(line[:200] for line in wrong[:6]),
            mend="run `hwgen doctor`; if all is well there, please report this as a bug",
        )
