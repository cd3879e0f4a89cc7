"""`python -m bench.resources [--fit]`: the sweep behind the resource estimator, and its fit.

Maps accelerators and arrays of many shapes with the flow `yosys` and writes what each unit takes to
bench/resources.json; then fits hwgen/estimate/resources.yaml to the points that are not held back and writes the error
over those that are into docs/synthesis.md. An hour of one core, less where parts are in the cache; --fit only fits
what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwgen.cli.console import progress_bars
from hwgen.estimate.units import UNITS, unit_of
from hwgen.flows.flow import Job
from hwgen.flows.registry import find_flow
from hwgen.machine.devices import Usage, find_device
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import TOP, accelerator_verilog, to_verilog
from hwgen.rtl.engine.array import ComputeArray

HERE = Path(__file__).parent
POINTS = HERE / "resources.json"
DEVICES = {"xcup": "xczu9eg", "xc7": "xc7z020", "ecp5": "lfe5u-85f", "nexus": "lifcl-40"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What is mapped: an accelerator of default parameters but these, or its array alone."""

    params: dict[str, int]
    family: str = "xcup"
    alone: bool = False
    held_back: bool = False

    def verilog(self) -> tuple[str, str]:
        """Text and top module."""
        p = HwParams(**self.params)
        if self.alone:
            return to_verilog(ComputeArray(t=p.t, c=p.c, k=p.k, packed=p.multiplier_bits == 27), "array"), "array"
        return accelerator_verilog(p), TOP


def machine(t: int, c: int, k: int, weights: int = 64, data: int = 64, **more: int) -> dict[str, int]:
    return {"t": t, "c": c, "k": k, "weight_bus": weights, "data_bus": data, **more}


#: As `hwgen build examples/edge_moe/config.yaml` makes it.
EDGE = {"x_depth": 2048, "y_depth": 1024, "h_depth": 1024, "k_depth": 128, "v_depth": 256, "max_tokens": 129,
        "weight_depth": 8192, "norm_depth": 16, "max_experts": 16, "max_topk": 2}  # fmt: skip
SMALL = {"x_depth": 512, "y_depth": 128, "h_depth": 256, "k_depth": 64, "v_depth": 64, "max_tokens": 32,
         "weight_depth": 512, "norm_depth": 16, "max_experts": 4, "max_topk": 2, "instruction_queue": 8}  # fmt: skip


def points() -> Iterator[Point]:
    """The cheap ones first."""
    for shape in ((2, 2, 2), (2, 4, 4), (4, 2, 8), (4, 8, 4), (8, 4, 8), (2, 16, 8)):
        for bits in (27, 18):
            yield Point(machine(*shape, multiplier_bits=bits), alone=True)
    yield Point(machine(2, 2, 2))
    yield Point(machine(4, 4, 4))
    yield Point(machine(8, 16, 8, 256, 128, **EDGE), held_back=True)
    yield Point(machine(4, 8, 4, 128, 64))
    yield Point(machine(8, 8, 4, 128, 128, **EDGE), held_back=True)
    yield Point(machine(4, 4, 4, multiplier_bits=18, **SMALL))
    yield Point(machine(4, 16, 8, 256, 128))
    yield Point(machine(8, 4, 2, 64, 128, max_experts=32, max_tokens=512))
    yield Point(machine(4, 8, 8, 128, 128, multiplier_bits=18, max_experts=8), held_back=True)
    yield Point(machine(2, 4, 16, 512, 64, max_experts=64, x_depth=8192), held_back=True)


def measure(point: Point) -> Row:
    """What each unit takes."""
    verilog, top = point.verilog()
    start = time.monotonic()
    with progress_bars() as progress:
        job = Job(verilog, top, find_device(DEVICES[point.family]), progress, jobs=os.cpu_count() or 1, parts=UNITS)
        report = find_flow("yosys").run(job)
    units: defaultdict[str, Usage] = defaultdict(Usage)
    for module in report.modules:
        units["array" if point.alone else unit_of(module.name)] += module.usage * module.instances
    return {
        "family": point.family, "held_back": point.held_back, "alone": point.alone, "params": point.params,
        "units": {name: units[name].as_dict() for name in UNITS if name in units},
        "seconds": round(time.monotonic() - start),
    }  # fmt: skip


def sweep() -> list[Row]:
    """All points; each is written down as soon as it is measured."""
    rows: list[Row] = []
    for point in points():
        rows.append(measure(point))
        POINTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
        print(point, rows[-1]["seconds"], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="measure nothing")
    options = parser.parse_args()
    rows = json.loads(POINTS.read_text()) if options.fit else sweep()


if __name__ == "__main__":
    main()
