"""`python -m bench.synth [--ecp5]`: what the array and the accelerator take of an FPGA; rows of bench/synth.json.

The flow `yosys` of `hwgen synth` maps both for UltraScale+ (xcup), at the size of examples/edge_moe. The exit code is 1
when a limit is exceeded. Yosys puts no register and no adder into a DSP slice: LUTs, flip-flops and the longest path
are more than the vendor's tools make of it. The path is counted in LUTs, carries of four bits and multiplexers. --ecp5
also places and routes a machine of 64 MACs for five seeds (flow `nextpnr-ecp5`): most of an hour, by hand. Needs the
extra `synth`. What was measured is kept in build/synth by content.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwgen.cli.console import progress_bars
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import dump_yaml, read_yaml
from hwgen.config import load_project
from hwgen.flows.flow import Job, Report
from hwgen.flows.registry import find_flow, flow_device
from hwgen.machine.emission import TOP
from hwgen.machine.params import HwParams
from hwgen.network import description
from hwgen.quantize.synthetic import synthetic
from hwgen.rtl.emit import accelerator_verilog, to_verilog
from hwgen.rtl.engine.array import ComputeArray

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "edge_moe"
WORK = HERE.parent / "build" / "synth"
RESULTS = HERE / "synth.json"
#: Of the ECP5.
SPEED_GRADE = 8
SEEDS = (1, 2, 3, 4, 5)

Row = dict[str, Any]


@dataclass(frozen=True)
class Design:
    """What to measure: Verilog with its top module, and the bounds of the figures in its row."""

    what: str
    array: tuple[int, int, int]
    top: str
    verilog: str
    at_most: dict[str, int] = field(default_factory=dict)
    at_least: dict[str, int] = field(default_factory=dict)


def designs() -> Iterator[Design]:
    """The array and the accelerator of the example."""
    p = example_params()
    shape = (p.t, p.c, p.k)
    array = to_verilog(ComputeArray(t=p.t, c=p.c, k=p.k), "array")
    common = {"latches": 0, "ff_memories": 0, "longest_path": 12}
    # Two tokens share a multiplier.
    yield Design("array", shape, "array", array, common | {"dsp": p.macs // 2}, {"dsp": p.macs // 2})
    limits = common | {"dsp": 640, "lut": 110_000, "bram36": 500}
    yield Design("accelerator", shape, TOP, accelerator_verilog(p), limits)


def example_params() -> HwParams:
    """Of what `hwgen build examples/edge_moe/config.yaml` makes."""
    description.save(synthetic(EXAMPLE / "model.yaml", seed=1), WORK / "edge_moe")
    config = WORK / "config.yaml"
    config.write_text(dump_yaml(read_yaml(EXAMPLE / "config.yaml") | {"model": "edge_moe"}))
    return load_project(config).params


def small_design() -> Design:
    """A machine that fits the ECP5-85k, behind few enough pins."""
    p = HwParams(
        t=4, c=4, k=4, weight_bus=64, data_bus=64, x_depth=512, y_depth=128, h_depth=256, k_depth=64, v_depth=64,
        max_tokens=32, weight_depth=512, norm_depth=16, max_experts=4, max_topk=2, instruction_queue=8,
        multiplier_bits=18,
    )  # fmt: skip
    return Design("accelerator on ECP5-85k", (p.t, p.c, p.k), TOP, accelerator_verilog(p), at_least={"mhz": 100})


def measure(design: Design, *, ecp5: bool = False, work: Path = WORK) -> Row:
    """The row of a design; from an earlier run if nothing has changed."""
    flow = find_flow("nextpnr-ecp5" if ecp5 else "yosys")
    tools = {tool.version.split()[0] if "yowasp" in tool.version else tool.name: tool.version.split()[-1]
             for tool in flow.tools()}  # fmt: skip
    key = hashlib.sha256(repr((flow.name, tools, SEEDS if ecp5 else (), design.verilog)).encode()).hexdigest()[:20]
    kept = work / f"{key}.json"
    if not kept.exists():
        start = time.monotonic()
        with progress_bars() as progress:
            report = flow.run(Job(
                design.verilog, design.top, flow_device(flow, None), progress, jobs=os.cpu_count() or 1, seeds=SEEDS,
            ))  # fmt: skip
        work.mkdir(parents=True, exist_ok=True)
        figures = placed(report) if ecp5 else mapped(report)
        kept.write_text(json.dumps(figures | {"seconds": round(time.monotonic() - start)}))
    row = {"what": design.what, "array": list(design.array), **json.loads(kept.read_text())}
    return row | tools | {"report": key}


def mapped(report: Report) -> Row:
    """Figures of Yosys."""
    total = report.total
    return {
        "dsp": round(total.dsp), "lut": round(total.lut), "ff": round(total.ff), "bram36": total.bram36,
        "latches": report.latches, "ff_memories": report.ff_memories, "longest_path": report.longest_path,
        "levels": report.levels,
    }  # fmt: skip


def placed(report: Report) -> Row:
    """Figures of nextpnr; `mhz` is the median of `fmax`."""
    total = report.total
    return {
        "mhz": statistics.median(report.fmax.values()), "fmax": list(report.fmax.values()), "dsp": round(total.dsp),
        "lut": round(total.lut), "ff": round(total.ff), "bram18": round(2 * total.bram36),
        "critical_path": report.critical_path,
    }  # fmt: skip


def exceeded(design: Design, row: Row) -> list[str]:
    """Figures of the row out of their bounds."""
    high = [f"{name} {row[name]:,} > {limit:,}" for name, limit in design.at_most.items() if row[name] > limit]
    return high + [f"{name} {row[name]:,} < {limit:,}" for name, limit in design.at_least.items() if row[name] < limit]


def show(rows: list[Row], console: Console) -> None:
    columns = ("dsp", "lut", "ff", "bram36", "latches", "ff_memories", "longest_path", "mhz", "seconds")
    table = Table(title="Synthesis by Yosys, ECP5: also placed and routed by nextpnr")
    table.add_column("what")
    for name in ("array", *columns):
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        figures = (f"{row[name]:,}" if name in row else "-" for name in columns)
        table.add_row(row["what"], "x".join(map(str, row["array"])), *figures)
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ecp5", action="store_true", help="also place and route a machine of 64 MACs")
    options = parser.parse_args()
    console = Console()
    WORK.mkdir(parents=True, exist_ok=True)
    rows, faults = [], []
    todo = [(design, False) for design in designs()] + ([(small_design(), True)] if options.ecp5 else [])
    for design, ecp5 in todo:
        row = measure(design, ecp5=ecp5)
        rows.append(row)
        faults += [f"{design.what}: {fault}" for fault in exceeded(design, row)]
    if not options.ecp5 and RESULTS.exists():  # what was not measured stays
        measured = {row["what"] for row in rows}
        rows += [row for row in json.loads(RESULTS.read_text()) if row["what"] not in measured]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows, console)
    for fault in faults:
        console.print(f"[red]{fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
