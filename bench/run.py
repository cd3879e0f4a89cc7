"""`make bench`: full-size models in simulation, one row of bench/results.json per machine, model, task and latency.

python -m bench.run [--tensors] [--only MODEL] [--machine N] [--large]: --tensors also compares every intermediate
tensor (slower); --only and --machine (from 0 on) measure a part and write no results. --large measures the networks of
large.yaml instead, by hand: some minutes each; their rows take the place of those there were. The exit code is 1 when a
bit differs.
The first run's timeline, when each instruction began and retired on its unit, goes to bench/timeline.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from rich.table import Table

from golden.model import Golden
from hwgen.build import Build, build, load_build
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict, dump_yaml, read_yaml, validate
from hwgen.compiler import Instr
from hwgen.compiler.blocks import spans
from hwgen.compiler.layout import div_up
from hwgen.compiler.sizing import buffer_bytes
from hwgen.config import Array, Buffers, Buses
from hwgen.estimate.cycles import CAUSES, CycleEstimate, estimate
from hwgen.estimate.memories import memories, tiled
from hwgen.machine import regmap
from hwgen.machine.isa import BYTES, Dest, Op
from hwgen.network import description
from hwgen.network.description import Description
from hwgen.network.macs import attention_macs, macs
from hwgen.quantize.synthetic import synthetic, synthetic_images
from sim.harness import Harness, Job, JobResult, Timing, build_harness
from sim.simulate import simulate

HERE = Path(__file__).parent
WORK = HERE.parent / "build" / "bench"
RESULTS, TIMELINE, TOKENS, SYNTHESIS = (
    HERE / name for name in ("results.json", "timeline.csv", "tokens.json", "synth.json")
)
#: Seed of the images every row runs on.
IMAGE = 1
COUNTERS = {name: regmap.BY_NAME[name].offset for name in regmap.COUNTERS}
#: What `macs` counts.
OP_COUNT = (
    "1 MAC = 1 multiply + 1 add = 2 ops; products of weights, scores and PV that the mathematics needs, top_k experts "
    "per token, no padding; norms, softmax, GELU, requantization count nothing"
)
#: Layer whose attention block is a row of its own.
BLOCK = 1

Row = dict[str, Any]


class BenchModel(Strict):
    structure: str
    seed: int


class Machine(Strict):
    """An accelerator, and per model the memory latencies it runs at."""

    array: Array
    buses: Buses = Buses()
    buffers: Buffers = Buffers()
    batch: int = 1
    runs: dict[str, list[int]] = Field(min_length=1)


class Bench(Strict):
    """The whole of `bench.yaml`."""

    models: dict[str, BenchModel] = Field(min_length=1)
    machines: list[Machine] = Field(min_length=1)


@dataclass(frozen=True)
class Case:
    """One row to measure: the build with the model loaded, the images, and what golden says about them."""

    made: Build
    task: str
    latency: int
    images: NDArray[np.uint8]
    expected: NDArray[np.int16]
    queue_lengths: list[list[int]]  #: per layer with experts

    @cached_property
    def estimate(self) -> CycleEstimate:
        return estimate(
            self.made.compiled, self.task, self.made.params, latency=self.latency, queue_lengths=self.queue_lengths
        )


def read_bench(path: Path = HERE / "bench.yaml") -> Bench:
    return validate(Bench, read_yaml(path), str(path))


def build_machine(bench: Bench, machine: Machine, work: Path) -> tuple[dict[str, Build], float]:
    """A build with all models of the machine, opened for each of them; and the seconds `hwgen build` took."""
    names = {}
    for key in machine.runs:
        entry = bench.models[key]
        made = synthetic(HERE / entry.structure, entry.seed)
        description.save(made, work / "models" / made.model.name)
        names[key] = made.model.name
    sizes = machine.buffers.model_dump(exclude_none=True)
    config = work / "config.yaml"
    config.write_text(dump_yaml({
        "models": [f"models/{name}" for name in names.values()], "array": machine.array.model_dump(),
        "buses": machine.buses.model_dump(), "buffers": sizes or "auto", "batch": machine.batch,
    }))  # fmt: skip
    start = time.monotonic()
    build(config, work / "out", force=True)
    seconds = time.monotonic() - start
    return {key: load_build(work / "out", name) for key, name in names.items()}, seconds


def cases(machine: Machine, builds: dict[str, Build]) -> Iterator[Case]:
    for key, latencies in machine.runs.items():
        made = builds[key]
        images = synthetic_images(made.model, machine.batch, IMAGE)
        golden = Golden(made.model)
        for task in made.model.model.tasks:
            run = golden.run(images, task.name, keep=True)
            lengths = queue_lengths(made.model, run.tensors, made.compiled.blocks.tokens)
            for latency in latencies:
                yield Case(made, task.name, latency, images, run.output, lengths)


def queue_lengths(desc: Description, tensors: dict[str, Any], block: int | None = None) -> list[list[int]]:
    """How many rows of the whole batch go to each expert, layer by layer, or block by block of so many tokens."""
    found = []
    for index, layer in enumerate(desc.model.layers):
        if layer.mlp.kind == "moe":
            winners = tensors[f"layers.{index}.experts"].reshape(-1, layer.mlp.top_k)
            for begin, end in spans(len(winners), block or len(winners)):
                found.append(np.bincount(winners[begin:end].ravel(), minlength=layer.mlp.experts).tolist())
    return found


def measure(harness: Harness, case: Case, *, tensors: bool = False) -> tuple[Row, JobResult]:
    """Run one batch, images in DRAM to outputs in DRAM; a row of the results, and what it was made from."""
    made, compiled, p = case.made, case.made.compiled, case.made.params
    timing = Timing(latency=case.latency, watchdog=200_000_000)
    job = Job(compiled.entries[case.task], compiled.pack_input(case.images), compiled.region_bytes[case.task])
    start = time.monotonic()
    (result,) = harness.run(
        [job], program=compiled.program, weights=compiled.weights, counters=COUNTERS, timing=timing, timeline=True
    )
    seconds = time.monotonic() - start
    count = result.counters
    output = compiled.unpack_output(case.task, result.output).reshape(case.expected.shape)
    exact = not result.error and np.array_equal(output, case.expected)
    if tensors:
        exact = exact and simulate(made, case.images, tasks=[case.task], timing=timing).identical
    batch, useful = len(case.images), len(case.images) * macs(made.model, case.task)
    guess, moved = case.estimate, dram_bytes(compiled.instructions[case.task], count, compiled.output_bytes[case.task])
    return {
        "model": made.model.model.name, "task": case.task, "part": "image", "array": [p.t, p.c, p.k],
        "weight_bytes_per_cycle": p.weight_bus // 8, "data_bytes_per_cycle": p.data_bus // 8,
        "weight_ring_bytes": p.weight_depth * p.ring_bytes, "on_chip_bytes": buffer_bytes(p),
        "spill_bytes": moved["spilled"] + moved["read_back"],
        "bram36": sum(tiled(memory).bram36 for memory in memories(p)), "blocks": asdict(compiled.blocks),
        "memory_latency": case.latency, "batch": batch,
        "cycles": count["cycles"], "cycles_per_image": round(count["cycles"] / batch),
        "macs": useful, "op_count": OP_COUNT, "utilization": round(useful / (p.macs * count["cycles"]), 4),
        "bit_exact": bool(exact), "compared": "every tensor" if tensors else "output",
        "compute_floor_cycles": div_up(useful, p.macs),
        "memory_floor_cycles": max(
            div_up(8 * weight_bytes(count), p.weight_bus),
            div_up(8 * count["gmem1_read_bytes"], p.data_bus), div_up(8 * count["gmem1_write_bytes"], p.data_bus),
        ),
        "dram_bytes": moved,
        "array_busy_cycles": count["array_busy"], "attention_busy_cycles": count["attention_busy"],
        "stall_cycles": {cause: count[f"stall_{cause}"] for cause in CAUSES},
        "kv_read_bytes": count["kv_read_bytes"], "instructions": count["instructions"],
        "estimated_cycles": guess.cycles, "estimate_error": round(guess.cycles / count["cycles"] - 1, 4),
        "harness_cycles_per_second": round(result.cycles / seconds),
    }, result  # fmt: skip


def weight_bytes(count: dict[str, int]) -> int:
    """Of all weight ports; those that are not there count nothing."""
    return sum(count[f"gmem{number}_read_bytes"] for number in (0, 2, 3, 4))


def dram_bytes(program: Sequence[Instr], count: dict[str, int], output: int) -> dict[str, int]:
    """Bytes on both ports by kind; what is stored behind the `output` is spilled. Instructions fetched in vain behind
    END count as program."""

    def total(op: Op, dest: Dest | None = None, spilled: int = 0) -> int:
        return sum(i.fields["bytes"] for i in program if i.op == op and dest in (None, i.fields.get("dest"))
                   and i.fields.get("spilled", 0) == spilled)  # fmt: skip

    parameters, position, image = total(Op.LOAD, Dest.NORM), total(Op.LOAD, Dest.X), total(Op.IMAGE)
    back = total(Op.LOAD, Dest.X, 1)
    spilled = sum(i.fields["bytes"] for i in program if i.op == Op.STORE and i.fields["offset"] >= output)
    instructions = count["gmem1_read_bytes"] - parameters - position - image - back
    assert instructions >= BYTES * len(program)
    return {
        "weights": weight_bytes(count) - count["gmem0_wasted_bytes"],
        "wasted_weights": count["gmem0_wasted_bytes"], "program": instructions, "layernorm": parameters,
        "position": position, "image": image, "output": count["gmem1_write_bytes"] - spilled, "spilled": spilled,
        "read_back": back,
    }  # fmt: skip


def block_cycles(instructions: Sequence[Instr], result: JobResult) -> int:
    """QKV, scores, PV and the projection of layer BLOCK, from q's first step to the last write of the projection.

    Other work that the schedule puts in between (the next norm, the gate, the router) is in the cycles.
    """

    def of(tensor: str) -> Iterator[Any]:
        wanted = f"layers.{BLOCK}.{tensor}"
        return (span for span in result.timeline if instructions[span.instruction].name.split(" ")[0] == wanted)

    return int(max(span.retire for span in of("attn")) - min(span.begin for span in of("q")))


def attention_block(case: Case, row: Row, result: JobResult) -> Row:
    """A row of its own."""
    cycles = block_cycles(case.made.compiled.instructions[case.task], result)
    useful = row["batch"] * attention_macs(case.made.model)
    same = ("model", "task", "array", "weight_bytes_per_cycle", "weight_ring_bytes", "memory_latency", "batch")
    return {name: row[name] for name in same} | {
        "part": f"attention block of layer {BLOCK}", "cycles": cycles, "macs": useful, "op_count": OP_COUNT,
        "cycles_per_image": round(cycles / row["batch"]),
        "utilization": round(useful / (case.made.params.macs * cycles), 4),
        "bit_exact": row["bit_exact"], "compute_floor_cycles": div_up(useful, case.made.params.macs),
        "measured": "from the begin of the first q instruction to the retire of the last proj instruction",
    }  # fmt: skip


def write_timeline(case: Case, result: JobResult) -> None:
    """One line per instruction, in program order."""
    instructions = case.made.compiled.instructions[case.task]
    with TIMELINE.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["instruction", "unit", "opcode", "name", "begin", "retire"])
        for span in sorted(result.timeline, key=lambda span: span.instruction):
            instr = instructions[span.instruction]
            table.writerow([span.instruction, span.unit, instr.op.name, instr.name, span.begin, span.retire])


def show(rows: Sequence[Row], console: Console) -> None:
    """Three tables: cycles, where they go, and what a machine of another size gains."""
    whole = [row for row in rows if row["part"] == "image"]
    cycles = _table("Cycles per image", "cycles", "floor", "memory\nfloor", "utiliz.", "DRAM\nMB", "estimate", "exact",
                    "sim\ncycles/s")  # fmt: skip
    for row in rows:
        batch, is_whole = row["batch"], row["part"] == "image"
        cycles.add_row(
            *_label(row), f"{row['cycles_per_image']:,}", f"{row['compute_floor_cycles'] // batch:,}",
            f"{row['memory_floor_cycles'] // batch:,}" if is_whole else "-", f"{row['utilization']:.1%}",
            f"{sum(row['dram_bytes'].values()) / batch / 1e6:.2f}" if is_whole else "-",
            f"{row['estimate_error']:+.1%}" if is_whole else "-", "yes" if row["bit_exact"] else "NO",
            f"{row['harness_cycles_per_second']:,}" if is_whole else "-",
        )  # fmt: skip
    console.print(cycles)
    shares = _table("Percent of the cycles in which the array took a step, or why it did not", "step", *CAUSES)
    for row in whole:
        counts = [row["array_busy_cycles"], *row["stall_cycles"].values()]
        shares.add_row(*_label(row), *(f"{100 * count / row['cycles']:.1f}" for count in counts))
    console.print(shares)
    if SYNTHESIS.exists():
        console.print(_synthesis(json.loads(SYNTHESIS.read_text())))
    for line in scaling(whole):
        console.print(line, highlight=False)


def _synthesis(rows: Sequence[Row]) -> Table:
    """What `python -m bench.synth` found."""
    table = Table("what", "array", "DSP", "LUT", "BRAM36", title="FPGA resources, by Yosys for UltraScale+")
    for row in rows:
        if "bram36" in row:
            figures = (f"{row[name]:,}" for name in ("dsp", "lut", "bram36"))
            table.add_row(row["what"], "x".join(map(str, row["array"])), *figures)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    labels = ("model", "task", "array", "bus\nB/cycle", "ring\nKB", "latency", "batch")
    for number, name in enumerate((*labels, *columns)):
        table.add_column(name, justify="left" if number < 3 else "right", no_wrap=True)
    return table


def _label(row: Row) -> tuple[str, ...]:
    part = "" if row["part"] == "image" else f", {row['part'].split(' of ')[0]}"
    return (
        row["model"] + part, row["task"], "x".join(map(str, row["array"])), str(row["weight_bytes_per_cycle"]),
        str(row["weight_ring_bytes"] // 1024), str(row["memory_latency"]), str(row["batch"]),
    )  # fmt: skip


def scaling(rows: Sequence[Row]) -> Iterator[str]:
    """What more MACs gain a model, on machines that differ in the array only."""
    same = ("model", "task", "weight_bytes_per_cycle", "weight_ring_bytes", "memory_latency", "batch")
    groups: dict[tuple[Any, ...], dict[int, int]] = {}
    for row in rows:
        sizes = groups.setdefault(tuple(row[key] for key in same), {})
        sizes[int(np.prod(row["array"]))] = row["cycles"]
    for (model, task, *_), sizes in groups.items():
        for small, large in zip(sorted(sizes), sorted(sizes)[1:]):
            yield f"{model} {task}: {small} -> {large} MACs, {sizes[small] / sizes[large]:.2f} times as fast"


def merged(rows: Sequence[Row]) -> list[Row]:
    """With what was measured of other models before."""
    measured = {row["model"] for row in rows}
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return [*(row for row in before if row["model"] not in measured), *rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tensors", action="store_true", help="compare every intermediate tensor, too")
    parser.add_argument("--only", metavar="MODEL", help="this model only")
    parser.add_argument("--machine", type=int, metavar="N", help="this machine of bench.yaml only, the first is 0")
    parser.add_argument("--large", action="store_true", help="the networks of large.yaml")
    options = parser.parse_args()
    console, progress = Console(width=None if sys.stdout.isatty() else 176), Console(stderr=True)
    bench = read_bench(HERE / ("large.yaml" if options.large else "bench.yaml"))
    complete = options.only is None and options.machine is None
    rows: list[Row] = []
    for number, machine in enumerate(bench.machines):
        if options.only:
            machine = machine.model_copy(update={"runs": {k: v for k, v in machine.runs.items() if k == options.only}})
        if not machine.runs or options.machine not in (None, number):
            continue
        with progress.status(f"machine {number}: draw the models, build"):
            builds, build_seconds = build_machine(bench, machine, WORK / str(number))
        with progress.status(f"machine {number}: compile the simulator (cached next time)"):
            first = next(iter(builds.values()))
            harness = build_harness(first.verilog, header=first.header, sources=first.path / "harness")
        for case in cases(machine, builds):
            row, result = measure(harness, case, tensors=options.tensors)
            progress.print(f"{row['model']} {row['task']} at latency {case.latency}: {row['cycles']:,} cycles, "
                           f"estimated {row['estimated_cycles']:,}", highlight=False)  # fmt: skip
            if not rows and complete and not options.large:
                write_timeline(case, result)
            if not rows and not options.large:
                rows.append(attention_block(case, row, result))
            rows.append(row | {"hwgen_build_seconds": round(build_seconds, 1)})
    if complete or options.large:
        RESULTS.write_text(json.dumps(merged(rows), indent=1) + "\n")
    show(rows, console)
    return 0 if all(row["bit_exact"] for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
