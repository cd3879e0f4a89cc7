"""The C++ Verilator harness from Python: build it once per hardware, then run lists of jobs on it."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.common.toolchain import find_verilator, made_once, run_process, verilator_environment
from hwgen.estimate.cycles import CAUSES
from hwgen.machine.emission import Emission
from hwgen.machine.isa import UNITS
from sim.job import Burst, Cause, Disturbance, Job, JobResult, Probe, Span, Timing
from sim.ports import weight_ports, weight_shares

__all__ = ["Disturbance", "Harness", "Job", "JobResult", "Probe", "SimulationError", "Span", "Timing", "build_harness",
           "verilate"]  # fmt: skip

SOURCES = ("main.cpp", "jobs.h", "dram.h", "memory.h", "serve.h", "timeline.h", "harness.vlt")
#: Flags of the model, of what runs once, and of Verilator's runtime, where the build is to be quick.
QUICK = [f for kind in ("FAST=-O1", "SLOW=-O0", "GLOBAL=-O1") for f in ("-MAKEFLAGS", f"OPT_{kind}")]
#: Bases above 4 GiB and only 64-byte aligned, so that narrow addresses and bursts across 4 KiB show.
ORIGIN, MISALIGNED, GUARD = 0x8_0000_0000, 0x0FC0, 0x1_0000
_HEADER = struct.Struct("<5I")  # job, instruction, number of the probe, words, bytes per stored word
DEFAULT = Emission()
#: In the order of templates/harness/timeline.h: counters of the register map, one of which counts in each cycle.
COUNTED = ("array_busy", *(f"stall_{cause}" for cause in CAUSES))


class SimulationError(HwgenError):
    """The simulated hardware broke a rule: it hangs, leaves its memory regions or violates the bus protocol."""


@dataclass(frozen=True)
class Harness:
    """A compiled accelerator with its memory model; `ports`: bytes of a beat of each weight port."""

    program: Path
    ports: tuple[int, ...]

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
        timeline: bool | int = False,
        on_done: Callable[[int], None] | None = None,
        extra: Sequence[str] = (),
    ) -> list[JobResult]:
        """Run the jobs one after another without a reset in between. `counters`: name -> register offset, read after
        each job. `weights`: all of the region; each port gets its share. `trace` needs a harness built with the format
        of that file. `timeline`: what each cycle went to, in
        all jobs or so many of the first. `on_done` gets the number of jobs done.
        `extra`: more lines of the job file.

        Raises SimulationError when the hardware hangs, breaks the bus protocol or leaves its regions; that it stopped
        with an error code is a result.
        """
        probes = probes or {}
        with tempfile.TemporaryDirectory(prefix="hwgen-sim-") as name:
            work = Path(name)
            commands = self._commands(work, jobs, program, weights, probes, counters or {}, timing or Timing(), trace)
            if timeline:
                count = len(jobs) if timeline is True else timeline
                commands.append(f"timeline {count} {work / 'timeline.txt'}")
            commands += extra
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
        lines = timing.commands
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
                    for port, share in enumerate(weight_shares(memory[1], self.ports))
                ]
                memories[memory] = [
                    f"program {load(f'program{number}.bin', memory[0])} {len(memory[0])}",
                    " ".join(["weights", str(len(self.ports)), *shares]),
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
    """See templates/harness/timeline.h."""
    units = tuple(UNITS)
    if not path.exists():
        raise HwgenError("simulation", "timeline", expected="a harness that writes one", found="one that does not",
                         mend="the build is of an earlier hwgen: build it again")  # fmt: skip
    for line in path.read_text().splitlines():
        kind, *words = line.split()
        region = words.pop(1) if kind == "burst" else ""
        job, *numbers = map(int, words)
        if kind == "span":
            done[job].timeline.append(Span(units[numbers[0]], *numbers[1:]))
        elif kind == "cause":
            done[job].causes.append(Cause(COUNTED[numbers[0]], *numbers[1:]))
        else:
            done[job].bursts.append(Burst(region, *numbers))


def build_harness(
    verilog: str,
    *,
    header: str,
    sources: Path,
    emission: Emission = DEFAULT,
    cache: Path | None = None,
    trace: str | None = None,
    optimize: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> Harness:
    """Compile the harness for the Verilog of one accelerator, or take it from the cache.

    verilog: text of the top module `emission.top` and all below; header: text of `hwgen_regs.h`; sources:
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
        "-Wno-lint", "-Wno-style", "-Wno-UNOPTFLAT", "--top-module", emission.top, "--prefix", "Vhwgen_accelerator",
        "-j", "2", "-o", "harness",
        *([f"--trace-{trace}"] if trace else []), "-CFLAGS", "-std=c++17",
        "-CFLAGS", f"-DHWGEN_DEBUG={emission.debug:d} -DHWGEN_WEIGHT_PORTS={len(ports)}",
        *(["-CFLAGS", "-O2"] if optimize else QUICK),
    ]  # fmt: skip
    program = made_once(
        "harness", (texts, options, tool.version), lambda work: _compile(work, texts, options, on_line), cache
    )
    return Harness(program, ports)


def _compile(work: Path, texts: Mapping[str, str], options: Sequence[str],
             on_line: Callable[[str], None] | None) -> Path:  # fmt: skip
    """The program."""
    for name, text in texts.items():
        (work / name).write_text(text)
    sources = ["harness.vlt", "hwgen_accelerator.v", "main.cpp"]
    verilate(work, [*options, "-CFLAGS", f"-I{work}", *sources], "the harness to compile", on_line)
    return work / "obj_dir" / "harness"


def verilate(work: Path, arguments: Sequence[str], expected: str, on_line: Callable[[str], None] | None) -> None:
    """Run Verilator in `work`. Raises HwgenError with the first errors."""
    log = work / "build.log"
    command = ["verilator", *arguments]
    if run_process(command, environment=verilator_environment(), log=log, cwd=work, on_line=on_line):
        lines = log.read_text().splitlines()
        wrong = [line for line in lines if "rror" in line] or lines[-5:]
        raise HwgenError(
            "verilator",
            expected=expected,
            found="\n    ".join(line[:200] for line in wrong[:6]),
            mend="run `hwgen doctor`; if all is well there, please report this as a bug",
        )
