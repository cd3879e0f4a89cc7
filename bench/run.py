"""`make bench`: full-size models in simulation, one row of bench/results.json per model, task and memory latency.

python -m bench.run [--tensors] [--workers N]: --tensors also compares every intermediate tensor (slower); rows run in
N processes, which costs simulation speed when there are fewer free cores. The exit code is 1 when a bit differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from rich.table import Table

from golden.model import Golden
from hwgen import description, regmap
from hwgen.build import Build, build, load_build
from hwgen.compiler.layout import div_up
from hwgen.config import Array, Buffers, Buses
from hwgen.errors import HwgenError
from hwgen.macs import macs
from hwgen.simulate import simulate
from hwgen.strict_yaml import Strict, dump_yaml, read_yaml, validate
from hwgen.synthetic import synthetic, synthetic_images
from sim.harness import Harness, Job, Timing, build_harness

HERE = Path(__file__).parent
WORK = HERE.parent / "build" / "bench"
RESULTS = HERE / "results.json"
#: Seed of the image every row runs on.
IMAGE = 1
COUNTERS = {name: regmap.BY_NAME[name].offset for name in regmap.COUNTERS}
STALLS = tuple(name for name in regmap.COUNTERS if name.startswith("stall_"))


class BenchModel(Strict):
    structure: str
    seed: int
    latencies: list[int]


class Bench(Strict):
    """The whole of `bench.yaml`."""

    array: Array
    buses: Buses
    buffers: Buffers
    models: list[BenchModel] = Field(min_length=1)


@dataclass(frozen=True)
class Case:
    """One row to measure: the build with the model loaded, and what golden says the output is."""

    made: Build
    task: str
    latency: int
    image: NDArray[np.uint8]
    expected: NDArray[np.int16]


def read_bench(path: Path = HERE / "bench.yaml") -> Bench:
    return validate(Bench, read_yaml(path), str(path))


def build_all(bench: Bench, work: Path = WORK) -> tuple[list[Build], float]:
    """One build with all models, opened for each of them; and the seconds `hwgen build` took."""
    names = []
    for entry in bench.models:
        made = synthetic(HERE / entry.structure, entry.seed)
        description.save(made, work / "models" / made.model.name)
        names.append(made.model.name)
    sizes = bench.buffers.model_dump(exclude_none=True)
    config = work / "config.yaml"
    config.write_text(dump_yaml({
        "models": [f"models/{name}" for name in names], "array": bench.array.model_dump(),
        "buses": bench.buses.model_dump(), "buffers": sizes or "auto",
    }))  # fmt: skip
    start = time.monotonic()
    build(config, work / "out", force=True)
    seconds = time.monotonic() - start
    return [load_build(work / "out", name) for name in names], seconds


def cases(bench: Bench, builds: list[Build]) -> Iterator[Case]:
    for entry, made in zip(bench.models, builds, strict=True):
        image = synthetic_images(made.model, 1, IMAGE)
        golden = Golden(made.model)
        for task in made.model.model.tasks:
            expected = golden.run(image, task.name).output[0]
            for latency in entry.latencies:
                yield Case(made, task.name, latency, image, expected)


def measure(harness: Harness, case: Case, *, tensors: bool = False) -> dict[str, Any]:
    """Run one image, image in DRAM to output in DRAM; a row of the results."""
    made, compiled, p = case.made, case.made.compiled, case.made.params
    timing = Timing(latency=case.latency)
    job = Job(compiled.entries[case.task], case.image[0].tobytes(), compiled.output_bytes[case.task])
    start = time.monotonic()
    (result,) = harness.run(
        [job], program=compiled.program, weights=compiled.weights, counters=COUNTERS, timing=timing
    )
    seconds = time.monotonic() - start
    count = result.counters
    exact = not result.error and np.array_equal(compiled.unpack_output(case.task, result.output), case.expected)
    if tensors:
        exact = exact and simulate(made, case.image, tasks=[case.task], timing=timing).identical
    useful = macs(made.model, case.task)
    return {
        "model": made.model.model.name, "task": case.task, "array": [p.t, p.c, p.k],
        "weight_bytes_per_cycle": p.weight_bus // 8, "data_bytes_per_cycle": p.data_bus // 8,
        "weight_ring_bytes": p.weight_depth * p.ring_bytes, "memory_latency": case.latency, "batch": 1,
        "cycles": count["cycles"], "macs": useful, "utilization": round(useful / (p.macs * count["cycles"]), 4),
        "bit_exact": bool(exact), "compared": "every tensor" if tensors else "output",
        "compute_floor_cycles": div_up(useful, p.macs),
        "memory_floor_cycles": max(
            div_up(8 * count["gmem0_read_bytes"], p.weight_bus),
            div_up(8 * count["gmem1_read_bytes"], p.data_bus), div_up(8 * count["gmem1_write_bytes"], p.data_bus),
        ),
        "dram_bytes": {name: count[f"{name}_bytes"] for name in ("gmem0_read", "gmem1_read", "gmem1_write")},
        "array_busy_cycles": count["array_busy"], "stall_cycles": {name[6:]: count[name] for name in STALLS},
        "instructions": count["instructions"], "harness_cycles_per_second": round(result.cycles / seconds),
    }  # fmt: skip


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """One table; stall columns in percent of the cycles."""
    table = Table(title="Cycles per image, batch 1")
    columns = ["model", "task", "latency", "cycles", "compute\nfloor", "memory\nfloor", "utiliz.", "array\nbusy",
               *rows[0]["stall_cycles"], "DRAM\nMB", "exact", "sim\ncycles/s"]  # fmt: skip
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    for row in rows:
        cycles = row["cycles"]
        table.add_row(
            row["model"], row["task"], str(row["memory_latency"]), f"{cycles:,}", f"{row['compute_floor_cycles']:,}",
            f"{row['memory_floor_cycles']:,}", f"{row['utilization']:.1%}", f"{row['array_busy_cycles'] / cycles:.1%}",
            *(f"{stall / cycles:.1%}" for stall in row["stall_cycles"].values()),
            f"{sum(row['dram_bytes'].values()) / 1e6:.2f}", "yes" if row["bit_exact"] else "NO",
            f"{row['harness_cycles_per_second']:,}",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tensors", action="store_true", help="compare every intermediate tensor, too")
    parser.add_argument("--workers", type=int, default=1, help="rows simulated at the same time (default 1)")
    options = parser.parse_args()
    console, progress = Console(width=None if sys.stdout.isatty() else 176), Console(stderr=True)
    bench = read_bench()
    with progress.status("draw the models, build"):
        builds, build_seconds = build_all(bench)
    with progress.status("compile the simulator, run golden"):
        first = builds[0]
        harness = build_harness(first.verilog, header=first.header, sources=first.path / "harness")
        todo = list(cases(bench, builds))

    def run(case: Case) -> dict[str, Any]:
        row = measure(harness, case, tensors=options.tensors)
        progress.print(f"{row['model']} {row['task']} at latency {row['memory_latency']}: {row['cycles']:,} cycles")
        return row | {"hwgen_build_seconds": round(build_seconds, 1)}

    with ThreadPoolExecutor(options.workers) as pool:
        rows = list(pool.map(run, todo))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows, console)
    return 0 if all(row["bit_exact"] for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
