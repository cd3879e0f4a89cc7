"""`hwgen sim`: a build in Verilator against the golden model, outputs and intermediate tensors to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray

from golden.model import Golden
from hwgen import compiler, regmap
from hwgen.build import Build
from hwgen.compiler.layout import div_up
from hwgen.errors import HwgenError
from hwgen.evaluate import quality
from hwgen.isa import BYTES
from hwgen.macs import macs
from hwgen.params import HwParams
from hwgen.rtl.emit import TOP, debug_map
from sim.compare import WIDE, Difference, compare_arrays, first_difference
from sim.harness import Job, JobResult, Probe, Timing, build_harness

__all__ = ["Probes", "Report", "TaskReport", "batch_tensors", "load_images", "simulate"]

#: Images simulated by one process, at least: bounds the dumps kept on disk and the golden tensors kept in memory.
CHUNK = 64
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

    def as_dict(self, p: HwParams) -> dict[str, Any]:
        mean = float(np.mean(self.cycles))
        return {
            "images": len(self.cycles), "bit_identical": not (self.wrong_outputs or self.wrong_tensors),
            "images_with_wrong_output": self.wrong_outputs, "images_with_wrong_tensors": self.wrong_tensors,
            "tensors_compared": self.tensors, "first_difference": self.first_difference, "accuracy": self.accuracy,
            "cycles_per_image": {"mean": mean, "min": min(self.cycles), "max": max(self.cycles)},
            "macs_per_image": self.macs, "array_utilization": self.macs / (mean * p.macs), "counters": self.counters,
        }  # fmt: skip


@dataclass
class Report:
    """All tasks of a run, and what it ran on."""

    params: HwParams
    engine: str
    timing: Timing
    tasks: dict[str, TaskReport]
    seconds: float = 0.0

    @property
    def identical(self) -> bool:
        return not any(task.wrong_outputs or task.wrong_tensors for task in self.tasks.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "engine": self.engine, "parameters": self.params.as_dict(), "macs_per_cycle": self.params.macs,
            "latency": self.timing.latency, "stall_percent": self.timing.stall_percent,
            "seconds": round(self.seconds, 2),
            "tasks": {name: task.as_dict(self.params) for name, task in self.tasks.items()},
        }  # fmt: skip


def load_images(build: Build, count: int) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """The first `count` images of the build's `images.npz` with their labels, else random ones."""
    image = build.model.model.image
    shape = (image.height, image.width, image.channels)
    if build.images is None:
        rng = np.random.default_rng(1)
        return rng.integers(0, 256, (count, *shape), np.uint8), None
    where = str(build.images)
    try:
        with np.load(build.images, allow_pickle=False) as archive:
            images = archive["images"]
            labels = archive["labels"] if "labels" in archive.files else None
    except (KeyError, ValueError, OSError) as error:
        raise HwgenError(where, "images", expected="an .npz file with an array `images`", found=str(error)) from None
    if images.ndim == 3 and image.channels == 1:
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape[1:] != shape:
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
    progress: Progress | None = None,
) -> Report:
    """Run every image through every task, the tasks taking turns, on one machine that is never reset in between.
    A build for batches gets as many images per run; the last ones are filled up with the last image.

    labels: per task the classes [images, rows], for the accuracy. With `probe`, all intermediate tensors are compared,
    not only the outputs. engine: harness or cocotb; trace: where to write a waveform, a name that
    ends with .vcd or, for the harness only, .fst.

    Raises SimulationError when the hardware hangs or breaks a rule; differences are in the report.
    """
    say = progress or (lambda what, done, total: None)
    names = [task.name for task in build.model.model.tasks]
    chosen = list(tasks or names)
    for name in chosen:
        if name not in names:
            raise HwgenError(str(build.path), "task", expected=" or ".join(names), found=name)
    start = time.monotonic()
    lines = 0

    def building(_: str) -> None:
        nonlocal lines
        lines += 1
        say("compile the simulator (cached next time)", lines, 0)

    if engine == "cocotb":
        from sim.cocotb_run import build_cocotb  # needs the extra `sim`

        harness: Engine = build_cocotb(build.verilog, trace=trace is not None, on_line=building)
    else:
        sources = build.path / "harness"
        harness = build_harness(
            build.verilog, header=build.header, sources=sources, trace=trace.suffix[1:] if trace else None,
            on_line=building,
        )  # fmt: skip
    timing = timing or Timing()
    report = Report(build.params, engine, timing, {name: TaskReport(name, macs(build.model, name)) for name in chosen})
    golden = Golden(build.model)
    probes = {name: Probes(build, name) for name in chosen} if probe else {}
    batch = build.compiled.batch
    chunk = div_up(CHUNK, batch) * batch
    for first in range(0, len(images), chunk):
        part = images[first : first + chunk]

        def count(done: int, before: int = first * len(chosen)) -> None:
            say("simulate", min(before + done * batch, len(images) * len(chosen)), len(images) * len(chosen))

        results = _run(build, harness, part, chosen, probes, timing, trace, count)
        for number, name in enumerate(chosen):
            say("compare with the golden model", first, len(images))
            _compare(build, golden, report.tasks[name], part, results[number :: len(chosen)], probes.get(name))
    for name, wanted in (labels or {}).items():
        if name in report.tasks:
            report.tasks[name].accuracy = quality(np.array(report.tasks[name].outputs), wanted).accuracy
    report.seconds = time.monotonic() - start
    return report


def _run(
    build: Build, harness: Engine, images: NDArray[np.uint8], tasks: Sequence[str], probes: Mapping[str, Probes],
    timing: Timing, trace: Path | None, on_done: Callable[[int], None],
) -> Sequence[JobResult]:  # fmt: skip
    compiled = build.compiled
    jobs = [
        Job(
            compiled.entries[name], compiled.pack_input(images[batch]), compiled.output_bytes[name],
            name if name in probes else None,
        )
        for batch in _batches(len(images), compiled.batch)
        for name in tasks
    ]  # fmt: skip
    return harness.run(
        jobs, program=compiled.program, weights=compiled.weights, probes={n: p.ranges for n, p in probes.items()},
        counters={name: regmap.BY_NAME[name].offset for name in regmap.COUNTERS}, timing=timing, trace=trace,
        on_done=on_done,
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


def batch_tensors(tensors: Mapping[str, Any], images: Sequence[int]) -> dict[str, NDArray]:
    """The golden model's tensors of the images of a run, as they lie in the buffers: one image's rows behind the
    other's. The scores keep their axis of heads in front, queues name rows of the run."""
    joined: dict[str, NDArray] = {}
    for name, tensor in tensors.items():
        parts = [tensor[image] for image in images]
        if name.endswith(".tokens"):
            rows = len(tensors["embed"][0])
            parts = [part + number * rows for number, part in enumerate(parts)]
        joined[name] = np.concatenate(parts, axis=1 if name.endswith(".score") else 0)
    return joined


def _located(build: Build, task: str, difference: Difference | str) -> str:
    """With the instruction's name and its place in the program."""
    if isinstance(difference, str) or difference.instruction is None:
        return str(difference)
    instr = build.compiled.instructions[task][difference.instruction]
    offset = build.compiled.entries[task] + difference.instruction * BYTES
    return f"{difference} [{instr.op.name} {instr.name}, program offset 0x{offset:x}]"


class Probes:
    """A task's probes, as ranges of memory words for the harness and back into whole buffers for the comparison.

    The router's queues are among them: length, tokens and gate weights.
    """

    def __init__(self, build: Build, task: str) -> None:
        self.params = build.params
        self.buffers = cast("dict[str, Any]", debug_map(build.params))
        self.rows = build.compiled.batch * build.model.model.tokens
        self.probes = build.compiled.probes[task]
        self.windows: dict[int, list[tuple[str, int, int]]] = {}  #: buffer, first word and end, in the harness's order
        self.ranges: dict[int, list[Probe]] = {}
        self._of: dict[int, list[compiler.Probe]] = {}
        for probe in self.probes:
            self._of.setdefault(probe.instruction, []).append(probe)
            for window in self._windows(probe):
                self._add(probe.instruction, *window)

    def _windows(self, probe: compiler.Probe) -> list[tuple[str, int, int]]:
        if probe.buffer == "QUEUE":
            assert probe.expert is not None
            first = probe.expert << ceil_log2(self.params.max_tokens)
            return [("COUNTS", 0, 1), ("QUEUE", first, first + self.rows)]
        buffer = self.buffers[probe.buffer]
        banks = len(buffer["paths"])
        end = self.rows if probe.row_end is None else probe.row_end
        first, last = (probe.base + row // banks * probe.stride for row in (probe.row_begin, end - 1))
        last += max(probe.channels) // (buffer["width"] // buffer["element"])
        return [(probe.buffer, first, min(last + 1, buffer["depth"]))]

    def _add(self, instruction: int, name: str, first: int, end: int) -> None:
        windows = self.windows.setdefault(instruction, [])
        if (name, first, end) not in windows:
            windows.append((name, first, end))
            buffer = self.buffers[name]
            self.ranges.setdefault(instruction, []).extend(
                Probe(f"{TOP}.{path}", first, end - first, buffer["width"]) for path in buffer["paths"]
            )

    def compare(self, result: JobResult, tensors: Mapping[str, NDArray]) -> Difference | None:
        for instruction in sorted(result.dumps):
            dump = {instruction: self._dump(instruction, result.dumps[instruction])}
            if difference := first_difference(self._of[instruction], dump, tensors):
                return difference
        return None

    def missing(self, result: JobResult, tensors: Mapping[str, NDArray]) -> str | None:
        """The hardware's own error, or an instruction that never completed although it had rows to compute."""
        if result.error:
            error = regmap.Error(result.error)
            return f"instruction {result.error_index}: the hardware stopped, error {error.name}: {regmap.ERRORS[error]}"
        for probe in self.probes:
            if probe.instruction not in result.dumps and len(tensors[probe.tensor]):
                return f"instruction {probe.instruction}: {probe.tensor} was never computed"
        return None

    def _dump(self, instruction: int, arrays: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray]:
        """Buffers as `sim.compare` wants them; words that were not dumped are zero."""
        dump: dict[str, NDArray] = {}
        position = 0
        for name, first, end in self.windows[instruction]:
            buffer = self.buffers[name]
            banks, depth, width = len(buffer["paths"]), buffer["depth"], -(-buffer["width"] // 8)
            words = dump.setdefault(name, np.zeros((banks, depth, width), np.uint8))
            for bank in range(banks):
                words[bank, first:end] = arrays[position + bank]
            position += banks
        for name in WIDE.keys() & dump:
            dump[name] = _elements(dump[name], self.buffers[name]["element"])
        if "QUEUE" in dump:
            dump |= self._queues(dump.pop("COUNTS")[0, 0], dump.pop("QUEUE")[0])
        return dump

    def _queues(self, counts: NDArray[np.uint8], entries: NDArray[np.uint8]) -> dict[str, NDArray]:
        """The packed counts and the words of the queues' RAM, see `hwgen.rtl.router.Router`."""
        p = self.params
        mask = (1 << p.row_bits) - 1
        packed = int.from_bytes(counts.tobytes(), "little")
        words = np.pad(entries, ((0, 0), (0, 8 - entries.shape[1]))).view("<i8").reshape(p.max_experts, -1)
        return {
            "counts": np.array([packed >> p.row_bits * expert & mask for expert in range(p.max_experts)]),
            "tokens": words & mask,
            "weights": words >> p.row_bits,
        }


def _elements(words: NDArray[np.uint8], bits: int) -> NDArray:
    """The signed elements of 16 or 24 bits of words [..., bytes]."""
    size = bits // 8
    wide = np.zeros((*words.shape[:-1], words.shape[-1] // size, 4), np.uint8)
    wide[..., 4 - size :] = words.reshape(*wide.shape[:-1], size)
    return wide.view("<i4")[..., 0] >> 32 - bits
