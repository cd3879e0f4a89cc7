"""`python -m bench.hls`: C-simulation of the HLS backend at full size, a row of bench/hls.json per model and task.

On the first machine of bench.yaml, and for the example mnist_m3vit; outputs against the golden model, for the example
every tensor. Iterations are those of all loops at II = 1, one unit after the other, beside the cycles that the cycle
model has for the RTL. The exit code is 1 when a bit differs or a limit is exceeded.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.run import HERE, Case, build_machine, cases, read_bench
from hwgen.build import Build, build
from hwgen.common.strict_yaml import dump_yaml, read_yaml
from hwgen.common.templates import templates
from hwgen.estimate.cycles import estimate
from hwgen.hls import sources
from hwgen.machine.params import HwParams
from sim.harness import Job
from sim.hls import HEADERS, CSimulation, build_hls
from sim.simulate import load_images, simulate

RESULTS = HERE / "hls.json"
EXAMPLE = HERE.parent / "examples" / "mnist_m3vit" / "config.yaml"
MODELS = ("edge_moe", "deit_small")
IMAGES = 64  #: of the example
#: Seconds to compile, seconds for an image of `MODELS`, images in a second of the example, engine against the RTL.
COMPILE, IMAGE, RATE, AGREE = 20, 20, 5, 0.1

Row = dict[str, Any]


def compiled(p: HwParams, cache: Path) -> tuple[CSimulation, float]:
    """And how long it took."""
    home, start = templates(), time.monotonic()
    texts = {name: (home / "harness" / name).read_text() for name in HEADERS}
    main = (home / "hls" / "csim" / "main.cpp").read_text()
    found = build_hls(sources(p), main, texts, ports=(p.port_bits // 8,) * p.weight_ports, cache=cache)
    return found, time.monotonic() - start


def iterations(machine: CSimulation, images: int) -> dict[str, float]:
    """Of an image, by unit; "fetch" is that of the instructions."""
    units = {name.removeprefix("unit."): loop for name, loop in machine.loops.items() if name.startswith("unit.")}
    units["fetch"] = machine.loops["sequencer.fetch"]
    return {name: round(loop.iterations / images) for name, loop in units.items() if loop.iterations}


def full_size(case: Case, machine: CSimulation, seconds: float) -> Row:
    made = case.made.compiled
    job = Job(made.entries[case.task], made.pack_input(case.images), made.region_bytes[case.task])
    machine.loops.clear()
    start = time.monotonic()
    (result,) = machine.run([job], program=made.program, weights=made.weights)
    took = time.monotonic() - start
    output = made.unpack_output(case.task, result.output).reshape(case.expected.shape)
    return {
        "model": case.made.model.model.name, "task": case.task, "images": 1,
        "bit_exact": bool(not result.error and np.array_equal(output, case.expected)),
        "compile_seconds": round(seconds, 1), "seconds_per_image": round(took, 2),
        "iterations": iterations(machine, 1), "rtl_cycles": case.estimate.cycles,
    }  # fmt: skip


def example(work: Path, cache: Path) -> Row:
    """All tensors of both tasks."""
    config = read_yaml(EXAMPLE)
    for key in ("model", "images"):
        config[key] = str(EXAMPLE.parent / config[key])
    (work / "config.yaml").write_text(dump_yaml(config | {"backends": ["amaranth", "hls"]}))
    made: Build = build(work / "config.yaml", work / "out")
    machine, seconds = compiled(made.params, cache)
    images, _ = load_images(made, IMAGES)
    report = simulate(made, images, engine="hls")
    tasks = list(report.tasks)
    jobs = [
        Job(made.compiled.entries[task], made.compiled.pack_input(images[n : n + 1]), made.compiled.region_bytes[task])
        for n in range(IMAGES) for task in tasks
    ]  # fmt: skip
    start = time.monotonic()
    machine.run(jobs, program=made.compiled.program, weights=made.compiled.weights)
    took = time.monotonic() - start
    cycles = [estimate(made.compiled, task, made.params, latency=100).cycles for task in tasks]
    return {
        "model": made.model.model.name, "task": " and ".join(tasks), "images": len(jobs),
        "bit_exact": report.identical, "compile_seconds": round(seconds, 1),
        "seconds_per_image": round(took / len(jobs), 3), "iterations": iterations(machine, len(jobs)),
        "rtl_cycles": round(sum(cycles) / len(cycles)),
    }  # fmt: skip


def wrong(row: Row) -> list[str]:
    """What a row should not be. The engine of the example waits for other units in the RTL, too."""
    slow = row["seconds_per_image"] > (IMAGE if row["images"] == 1 else 1 / RATE)
    apart = abs(row["iterations"]["engine"] / row["rtl_cycles"] - 1) > AGREE and row["images"] == 1
    findings = {
        "bits differ": not row["bit_exact"], "slow": slow, "compiles slowly": row["compile_seconds"] > COMPILE,
        "not the RTL's cycles": apart,
    }  # fmt: skip
    return [what for what, found in findings.items() if found]


def main() -> int:
    console, rows = Console(), []
    with tempfile.TemporaryDirectory(prefix="hwgen-bench-hls-") as name:
        work = Path(name)
        bench = read_bench()
        first = bench.machines[0]
        runs = {key: first.runs[key][:1] for key in MODELS}
        machine = first.model_copy(update={"runs": runs})
        builds, _ = build_machine(bench, machine, work)
        simulation, seconds = compiled(builds[MODELS[0]].params, work / "cache")
        rows = [full_size(case, simulation, seconds) for case in cases(machine, builds)]
        (work / "example").mkdir()
        rows.append(example(work / "example", work / "cache"))
    for row in rows:
        console.print(row)
        for what in wrong(row):
            console.print(f"[red]{row['model']}, {row['task']}: {what}[/]")
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(wrong(row) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
