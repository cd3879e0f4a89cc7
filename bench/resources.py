"""`python -m bench.resources [--fit | --continue]`: the sweep behind the resource estimator, and its fit.

Maps accelerators and arrays of many shapes with the flow `yosys` and writes what each unit takes to
bench/resources.json; then fits hwgen/estimate/resources.yaml to the points that are not held back and writes the error
over those that are into docs/synthesis.md. An hour of one core, less where parts are in the cache; --fit only fits
what was measured, --continue measures what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.cli.console import progress_bars
from hwgen.common.strict_yaml import dump_yaml
from hwgen.estimate.resources import TABLE, estimate_resources, known_part, total
from hwgen.estimate.units import UNITS, features, fitted, unit_of
from hwgen.flows.flow import Job
from hwgen.flows.registry import find_flow
from hwgen.machine.devices import Usage, find_device
from hwgen.machine.emission import TOP
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import accelerator_verilog, to_verilog
from hwgen.rtl.engine.array import ComputeArray
from hwgen.rtl.units.norm import Norm

HERE = Path(__file__).parent
POINTS = HERE / "resources.json"
PAGE = HERE.parent / "docs" / "synthesis.md"
BEGIN, END = "<!-- errors: python -m bench.resources -->", "<!-- /errors -->"
FITTED = ("lut", "ff")
LABELS = {"dsp": "DSP", "lut": "LUT", "ff": "FF", "bram36": "BRAM36"}
DEVICES = {"xcup": "xczu9eg", "xc7": "xc7z020", "ecp5": "lfe5u-85f", "nexus": "lifcl-40"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What is mapped: an accelerator of default parameters but these, or one unit alone."""

    params: dict[str, int]
    family: str = "xcup"
    alone: str = ""
    held_back: bool = False

    def verilog(self) -> tuple[str, str]:
        """Text and top module."""
        p = HwParams(**self.params)
        if self.alone == "array":
            return to_verilog(ComputeArray(t=p.t, c=p.c, k=p.k, packed=p.multiplier_bits == 27), "array"), "array"
        if self.alone == "norm":
            return to_verilog(Norm(p), "norm"), "norm"
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
            yield Point(machine(*shape, multiplier_bits=bits), alone="array")
    for family in ("xc7", "ecp5", "nexus"):  # for what they take in multiples of xcup
        yield Point(machine(2, 4, 4, multiplier_bits=18), family, alone="array")
        yield Point(machine(2, 4, 4, multiplier_bits=18), family, alone="norm")
    yield Point(machine(2, 2, 2))
    yield Point(machine(4, 4, 4))
    yield Point(machine(8, 16, 8, 256, 128, **EDGE), held_back=True)
    yield Point(machine(4, 4, 4, multiplier_bits=18, **SMALL))
    yield Point(machine(4, 8, 4, 128, 64))
    yield Point(machine(4, 4, 2, 64, 128, max_experts=32, max_tokens=512))
    yield Point(machine(2, 8, 8, 128, 64), held_back=True)
    yield Point(machine(8, 8, 4, 128, 128, **EDGE), held_back=True)
    yield Point(machine(4, 8, 4, 128, 64, weight_ports=2))
    yield Point(machine(2, 4, 4, 256, 64, weight_ports=4))
    large = EDGE | {"x_depth": 8192, "ultra_ram": True}
    yield Point(machine(4, 8, 8, 256, 128, weight_ports=4, **large), held_back=True)
    yield Point(machine(4, 16, 8, 256, 128))
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
        units[point.alone or unit_of(module.name)] += module.usage * module.instances
    return {
        "family": point.family, "held_back": point.held_back, "alone": point.alone, "params": point.params,
        "units": {name: asdict(units[name]) for name in UNITS if name in units},
        "seconds": round(time.monotonic() - start),
    }  # fmt: skip


def sweep(known: Sequence[Row]) -> list[Row]:
    """All points; each is written down as soon as it is measured. known: rows that need not be measured again."""
    rows: list[Row] = []
    for point in points():
        facts = {"family": point.family, "held_back": point.held_back, "alone": point.alone, "params": point.params}
        rows.append(next((row for row in known if row.items() >= facts.items()), None) or measure(point))
        POINTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
        print(point, rows[-1]["seconds"], flush=True)
    return rows


def fit(rows: Sequence[Row]) -> Row:
    """The table of hwgen/estimate/resources.yaml, from points that are not held back: per unit, LUTs and flip-flops per
    feature, memories apart; for other families how many times as many."""
    seen = [row for row in rows if not row["held_back"]]
    samples: defaultdict[str, list[tuple[dict[str, float], Row]]] = defaultdict(list)
    for row in seen:
        if row["family"] == "xcup":
            p = HwParams(**row["params"])
            for unit, usage in row["units"].items():
                known = known_part(p, "xcup")[unit]
                rest = {name: max(0.0, usage[name] - getattr(known, name)) for name in FITTED}
                samples[fitted(unit, p)].append((features(unit, p), rest))
    units = {
        unit: {name: _nonnegative([(given, rest[name]) for given, rest in found]) for name in FITTED}
        for unit, found in sorted(samples.items())
    }
    families = {"xcup": dict.fromkeys(FITTED, 1.0)}
    table = {"units": units, "families": families}
    for family in DEVICES:
        others = [row for row in seen if row["family"] == family]
        if family != "xcup" and others:
            families[family] = {name: round(_ratio(others, name, table), 3) for name in FITTED}
    return table


def _nonnegative(samples: Sequence[tuple[dict[str, float], float]]) -> dict[str, float]:
    """Least squares of the relative error, without features that would count negative."""
    names = list(samples[0][0])
    wanted = np.array([value for _, value in samples])
    weights = 1 / np.maximum(wanted, 0.02 * wanted.max() + 1)
    matrix = np.array([[given[name] for name in names] for given, _ in samples])
    scale = matrix.max(axis=0)
    kept = list(range(len(names)))
    while True:
        found = np.linalg.lstsq((matrix / scale)[:, kept] * weights[:, None], wanted * weights, rcond=1e-6)[0]
        if not len(found) or found.min() >= 0:
            break
        kept.pop(int(found.argmin()))
    values = dict(zip(kept, found / scale[kept], strict=True))
    return {name: float(f"{values.get(index, 0.0):.4g}") for index, name in enumerate(names)}


def _ratio(rows: Sequence[Row], name: str, table: Row) -> float:
    """Of what a family takes, memories apart, to what the fit for xcup says."""
    taken = expected = 0.0
    for row in rows:
        p = HwParams(**row["params"])
        known = known_part(p, row["family"])
        for unit, usage in row["units"].items():
            taken += usage[name] - getattr(known[unit], name)
            expected += sum(
                table["units"][fitted(unit, p)][name][key] * value for key, value in features(unit, p).items()
            )
    return taken / expected


def errors(rows: Sequence[Row]) -> Iterator[tuple[Row, Usage, Usage]]:
    """Accelerators, what they take, what the estimator says."""
    for row in rows:
        if not row["alone"]:
            said = total(estimate_resources(HwParams(**row["params"]), row["family"]))
            yield row, total({name: Usage(**usage) for name, usage in row["units"].items()}), said


def error_table(rows: Sequence[Row]) -> str:
    """Of docs/synthesis.md: the points held back, then the others."""
    lines = [
        f"| array | family | {' | '.join(LABELS[name] for name in LABELS)} |", "|---|---|" + "--:|" * len(LABELS),
    ]  # fmt: skip
    for held_back in (True, False):
        for row, taken, said in errors(rows):
            if row["held_back"] == held_back:
                p = HwParams(**row["params"])
                cells = (_cell(getattr(taken, name), getattr(said, name)) for name in LABELS)
                array = f"{p.t}×{p.c}×{p.k}" + ", 18 bits" * (p.multiplier_bits == 18)
                lines.append(f"| {array}{'' if held_back else ' (fitted)'} | {row['family']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(taken: float, said: float) -> str:
    off = f"{(said - taken) / taken:+.1%}" if taken else "exact" if said == taken else "?"
    return f"{said:,.0f} of {taken:,.0f}: {off}"


def write(rows: Sequence[Row]) -> None:
    """Fit and page."""
    TABLE.write_text(
        "# LUTs and flip-flops of each unit per feature (units.py), of other families in multiples of UltraScale+.\n"
        "# Made by `python -m bench.resources` from bench/resources.json.\n" + dump_yaml(fit(rows)), "utf-8"
    )  # fmt: skip
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{error_table(rows)}\n\n{END}{rest.split(END, 1)[1]}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="measure nothing")
    parser.add_argument("--continue", dest="goes_on", action="store_true", help="measure only what is not there yet")
    options = parser.parse_args()
    rows = json.loads(POINTS.read_text()) if options.fit or options.goes_on else []
    write(rows if options.fit else sweep(rows))


if __name__ == "__main__":
    main()
