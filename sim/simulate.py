"""`hwgen sim`: a build in Verilator against the golden model, outputs and intermediate tensors to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from golden.model import Golden
from hwgen.build import Build
from hwgen.common.archive import read_npz
from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.compiler.layout import div_up
from hwgen.estimate.cycles import estimate
from hwgen.evaluate.quality import quality
from hwgen.machine import regmap
from hwgen.machine.isa import BYTES
from hwgen.machine.params import HwParams
from hwgen.network.macs import macs
from hwgen.report.timeline import Timeline
from sim.compare import Difference, compare_arrays
from sim.harness import Job, JobResult, Probe, Timing, build_harness
from sim.hls import HEADERS, CSimulation, Loop, build_hls
from sim.ports import weight_ports
from sim.probes import Probes, batch_tensors
from sim.timeline import check_timeline, count_experts
from sim.timeline import timeline as timeline_of

__all__ = ["Report", "TaskReport", "load_images", "simulate"]

#: Images simulated by one process, at least: bounds the dumps kept on disk and the golden tensors kept in memory.
CHUNK = 64
UNSEEN = "intermediate tensors not compared: built without debug ports"
Progress = Callable[[str, int, int], None]  # what, done, of how many


class Engine(Protocol):
    """What runs jobs on the hardware: `sim.harness.Harness` says what the arguments mean."""

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
        on_done: Callable[[int], None] | None = None,
    ) -> Sequence[JobResult]: ...


@dataclass
class TaskReport:
    """Measurements of one task; `cycles` and the means `counters` are per image, a run's shared by its images."""

    task: str
    macs: int
    outputs: list[NDArray[np.int16]] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)
    accuracy: float | None = None
    tensors: int = 0  #: intermediate tensors compared
    wrong_outputs: int = 0  #: images whose output differs
    wrong_tensors: int = 0  #: images with an intermediate tensor that differs
    first_difference: str | None = None
    experts: dict[str, list[float]] = field(default_factory=dict)  #: by layer, the mean rows of each expert's queue
    timeline: Timeline | None = None  #: of the first run, if it was asked for

    def as_dict(self, p: HwParams) -> dict[str, Any]:
        mean = float(np.mean(self.cycles))
        return {
            "images": len(self.cycles), "bit_identical": not (self.wrong_outputs or self.wrong_tensors),
            "images_with_wrong_output": self.wrong_outputs, "images_with_wrong_tensors": self.wrong_tensors,
            "tensors_compared": self.tensors, "first_difference": self.first_difference, "accuracy": self.accuracy,
            "cycles_per_image": {"mean": mean, "min": min(self.cycles), "max": max(self.cycles)},
            "macs_per_image": self.macs, "array_utilization": self.macs / (mean * p.macs), "counters": self.counters,
            "experts": self.experts,
        } | ({"timeline": self.timeline.model_dump()} if self.timeline else {})  # fmt: skip


@dataclass
class Report:
    """All tasks of a run, and what it ran on."""

    params: HwParams
    model: str
    engine: str
    timing: Timing
    tasks: dict[str, TaskReport]
    seconds: float = 0.0
    loops: dict[str, Loop] = field(default_factory=dict)  #: of C-simulation, all runs together
    rtl_cycles: dict[str, float] = field(default_factory=dict)  #: beside them, of an image, by the cycle model
    note: str | None = None  #: what could not be compared, and why

    @property
    def identical(self) -> bool:
        return not any(task.wrong_outputs or task.wrong_tensors for task in self.tasks.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "engine": self.engine, "parameters": self.params.as_dict(),
            "macs_per_cycle": self.params.macs,
            "latency": self.timing.latency, "stall_percent": self.timing.stall_percent,
            "seconds": round(self.seconds, 2), "note": self.note,
            "loops": {name: asdict(loop) for name, loop in sorted(self.loops.items())},
            "rtl_cycles": self.rtl_cycles,
            "tasks": {name: task.as_dict(self.params) for name, task in self.tasks.items()},
        }  # fmt: skip


def load_images(
    build: Build, count: int, note: Callable[[str], None] | None = None
) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """The first `count` images of the model's `images.npz` with their labels, else random ones.

    The build's first model lends its images to the others if they are of their size; else `note` is told.
    """
    image = build.model.model.image
    shape = (image.height, image.width, image.channels)
    random = np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)
    if build.images is None:
        return random, None
    where = str(build.images)
    arrays = read_npz(build.images, "an .npz file with an array `images`", lambda name: name in ("images", "labels"))
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        raise HwgenError(where, "images", expected="an .npz file with an array `images`", found="no such array")
    if images.ndim == 3 and image.channels == 1:
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        if build.images.parent != build.home:
            if note is not None:
                note(f"random images: those of the build are not {build.model.model.name}'s {shape[0]}x{shape[1]}; "
                     f"write `images: {{{build.model.model.name}: FILE.npz}}` into its config")  # fmt: skip
            return random, None
        raise HwgenError(
            where,
            "images",
            expected=f"uint8 [images, {', '.join(map(str, shape))}]",
            found=f"{images.dtype} {list(images.shape)}",
        )
    if count > len(images):
        raise HwgenError(
            where,
            "images",
            expected=f"at least the {count} images asked for",
            found=f"{len(images)} images",
            mend=f"--images {len(images)}",
        )
    return images[:count], None if labels is None else labels[:count]


def simulate(
    build: Build,
    images: NDArray[np.uint8],
    *,
    labels: Mapping[str, NDArray[Any]] | None = None,
    tasks: Sequence[str] | None = None,
    timing: Timing | None = None,
    probe: bool = True,
    engine: str = "harness",
    trace: Path | None = None,
    timeline: bool = False,
    machine: Engine | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run every image through every task, the tasks taking turns, on one machine that is never reset in between.
    A build for batches gets as many images per run; the last ones are filled up with the last image.

    labels: per task the classes [images, rows], for the accuracy. With `probe`, all intermediate tensors are compared,
    not only the outputs; without debug ports that cannot be. engine: harness, cocotb, icarus (cocotb, too), hls
    (C-simulation, whose cycles are iterations of loops); trace: where to write a waveform, a name that ends with .vcd
    or, for the harness only, .fst; Icarus and C-simulation write none. timeline: of the first run of each task, too; of
    the harness and a build with debug ports only. machine: that engine, compiled before.

    Raises SimulationError when the hardware hangs or breaks a rule; differences are in the report.
    """
    say = progress or (lambda what, done, total: None)
    names = [task.name for task in build.model.model.tasks]
    chosen = list(tasks or names)
    for name in chosen:
        if name not in names:
            raise HwgenError(str(build.path), "task", expected=" or ".join(names), found=name)
    if timeline:
        check_timeline(build, engine)
    start = time.monotonic()
    harness = machine or _engine(build, engine, trace, say)
    timing = timing or Timing()
    seen = engine == "hls" or build.emission.debug
    probe = probe and seen
    measured = {name: TaskReport(name, macs(build.model, name)) for name in chosen}
    report = Report(build.params, build.model.model.name, engine, timing, measured)
    report.note = None if seen else UNSEEN
    golden = Golden(build.model)
    probes = {name: Probes(build, name) for name in chosen} if probe else {}
    batch = build.compiled.batch
    chunk = div_up(CHUNK, batch) * batch
    for first in range(0, len(images), chunk):
        part = images[first : first + chunk]

        def count(done: int, before: int = first * len(chosen)) -> None:
            say("simulate", min(before + done * batch, len(images) * len(chosen)), len(images) * len(chosen))

        remembered = len(chosen) if timeline and not first else 0
        results = _run(build, harness, part, chosen, probes, timing, trace, count, remembered)
        for number, name in enumerate(chosen):
            if remembered:
                report.tasks[name].timeline = timeline_of(build, name, results[number])
            say("compare with the golden model", first, len(images))
            _compare(build, golden, report.tasks[name], part, results[number :: len(chosen)], probes.get(name))
    for name, wanted in (labels or {}).items():
        if name in report.tasks:
            report.tasks[name].accuracy = quality(np.array(report.tasks[name].outputs), wanted).accuracy
    if isinstance(harness, CSimulation):
        report.loops, compiled = harness.loops, build.compiled
        for name in chosen:
            guess = estimate(compiled, name, build.params, latency=timing.latency)
            report.rtl_cycles[name] = guess.cycles / compiled.batch
    report.seconds = time.monotonic() - start
    return report


def _engine(build: Build, name: str, trace: Path | None, say: Progress) -> Engine:
    """Compiles the build for the engine of this name, or finds it compiled."""
    lines, top = 0, build.emission.top

    def on_line(_: str) -> None:
        nonlocal lines
        lines += 1
        say("compile the simulator (cached next time)", lines, 0)

    if name == "harness":
        kind, sources = trace.suffix[1:] if trace else None, build.path / "harness"
        return build_harness(
            build.verilog, header=build.header, sources=sources, emission=build.emission, trace=kind, on_line=on_line
        )
    if name == "hls":
        return _c_simulation(build, trace, on_line)
    if name == "icarus":
        from sim.icarus import build_icarus

        if trace is not None:
            raise HwgenError(COMMAND_LINE, "--trace", expected="--engine harness or cocotb", found="icarus")
        return build_icarus(build.verilog, top=top)
    from sim.cocotb_run import build_cocotb  # needs the extra `sim`

    return build_cocotb(build.verilog, top=top, trace=trace is not None, on_line=on_line)


def _c_simulation(build: Build, trace: Path | None, on_line: Callable[[str], None]) -> Engine:
    if trace is not None:
        raise HwgenError(COMMAND_LINE, "--trace", expected="--engine harness or cocotb", found="hls")
    if not build.hls:
        raise HwgenError(
            str(build.path), expected="a build with the sources for Vitis HLS", found="no directory `hls`",
            mend="write `backends: [amaranth, hls]` into config.yaml and build it again",
        )  # fmt: skip
    headers = {name: (build.path / "harness" / name).read_text() for name in HEADERS}
    main = (build.path / "hls" / "csim" / "main.cpp").read_text()
    return build_hls(build.hls, main, headers, ports=weight_ports(build.verilog), on_line=on_line)


def _run(
    build: Build, harness: Engine, images: NDArray[np.uint8], tasks: Sequence[str], probes: Mapping[str, Probes],
    timing: Timing, trace: Path | None, on_done: Callable[[int], None], timeline: int,
) -> Sequence[JobResult]:  # fmt: skip
    """`timeline`: of so many of the first runs."""
    compiled = build.compiled
    jobs = [
        Job(
            compiled.entries[name], compiled.pack_input(images[batch]), compiled.region_bytes[name],
            name if name in probes else None,
        )
        for batch in _batches(len(images), compiled.batch)
        for name in tasks
    ]  # fmt: skip
    more: dict[str, Any] = {"timeline": timeline} if timeline else {}
    return harness.run(
        jobs, program=compiled.program, weights=compiled.weights, probes={n: p.ranges for n, p in probes.items()},
        counters={name: regmap.BY_NAME[name].offset for name in regmap.COUNTERS}, timing=timing, trace=trace,
        on_done=on_done, **more,
    )  # fmt: skip


def _compare(
    build: Build, golden: Golden, report: TaskReport, images: NDArray[np.uint8], results: Sequence[JobResult],
    probes: Probes | None,
) -> None:  # fmt: skip
    compiled = build.compiled
    expected = golden.run(images, report.task, keep=probes is not None)
    for batch, result in zip(_batches(len(images), compiled.batch), results, strict=True):
        outputs = compiled.unpack_output(report.task, result.output).reshape(-1, *compiled.output_shapes[report.task])
        found: list[Difference | str] = []
        count = len(set(batch))
        if probes is not None:
            tensors = batch_tensors(expected.tensors, batch)
            count_experts(report.experts, tensors, compiled.batch, count, len(report.cycles))
            difference = probes.missing(result, tensors) or probes.compare(result, tensors)
            report.wrong_tensors += count if difference is not None else 0
            report.tensors += count * len(probes.probes)
            found += [difference] if difference else []
        for image, output in zip(batch[:count], outputs):
            difference = compare_arrays(None, f"{report.task}.output", expected.output[image], output)
            report.wrong_outputs += difference is not None
            found += [difference] if difference else []
            report.outputs.append(output)
        if found and report.first_difference is None:
            first = len(report.cycles)
            where = f"image {first}" if compiled.batch == 1 else f"images {first} to {first + count - 1}"
            report.first_difference = f"{where}, task {report.task}, {_located(build, report.task, found[0])}"
        counters = dict(result.counters)
        cycles = counters.pop("cycles", result.cycles)  # the hardware's count: without register accesses
        before = len(report.cycles)
        report.cycles += [cycles / compiled.batch] * count
        for name, value in counters.items():
            mean = report.counters.get(name, 0.0)
            report.counters[name] = mean + (value / compiled.batch - mean) * count / (before + count)


def _batches(images: int, size: int) -> list[list[int]]:
    """The images of each run; the last one's are repeated where there are too few."""
    return [[min(image, images - 1) for image in range(first, first + size)] for first in range(0, images, size)]


def _located(build: Build, task: str, difference: Difference | str) -> str:
    """With the instruction's name and its place in the program."""
    if isinstance(difference, str) or difference.instruction is None:
        return str(difference)
    instr = build.compiled.instructions[task][difference.instruction]
    offset = build.compiled.entries[task] + difference.instruction * BYTES
    return f"{difference} [{instr.op.name} {instr.name}, program offset 0x{offset:x}]"
