"""The designs as a page: the objective over what it costs, the front, and a table of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, NumeralTickFormatter
from bokeh.plotting import figure
from markupsafe import Markup

from hwgen.explore.evaluate import Design
from hwgen.explore.front import OBJECTIVES, best, front
from hwgen.report.embed import embedded, filled
from hwgen.report.style import KIND_COLOURS, MUTED, plot, short, source, tooltips

__all__ = ["ROWS", "columns", "page"]

#: Of the front's table, at most.
ROWS = 60
POINT = ("t", "c", "k", "weights", "data", "weight_ports", "weight_depth", "batch", "weight_bits")
COSTS = {"dsp": "DSP", "bram36": "block RAM, 36 Kbit", "lut": "LUT"}
ALL, FRONT = "all that fit", "front"
COLOURS = {ALL: MUTED, FRONT: KIND_COLOURS["mlp"]}


@dataclass(frozen=True)
class Section:
    """As templates/report has it."""

    title: str
    text: str
    ids: list[str]
    legends: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class View:
    plots: Markup
    task: str = "designs"
    sections: list[Section] = field(default_factory=list)


def columns(design: Design) -> dict[str, Any]:
    """A design in a row of a table: what it is, what it gives, what it costs."""
    point, need = design.point, design.resources
    return {
        "model": point.model, "t": point.t, "c": point.c, "k": point.k,
        "weight bus": f"{point.weight_ports} × {point.weights}" if point.weight_ports > 1 else str(point.weights),
        "data bus": point.data, "ring": point.weight_depth or "auto", "queue": point.instruction_queue or "auto",
        "batch": point.batch, "weight bits": point.weight_bits or "as quantized",
        "cycles": f"{design.cycles:,.0f}", "ms": f"{design.ms:.3f}", "frames/s": f"{design.fps:,.1f}",
        "utilization": f"{design.utilization:.1%}", "MB of DRAM": f"{design.dram_bytes / 1e6:.2f}",
        "µJ": f"{design.energy_uj:,.0f}",
        **{name.upper(): f"{need.get(name, 0):,.0f}" for name in ("dsp", "lut", "ff", "bram36", "uram")},
    }  # fmt: skip


def page(designs: Sequence[Design], objective: str, title: str, text: str) -> str:
    """Of at least one design that counts."""
    unit, value = OBJECTIVES[objective]
    good, chosen = best(designs, objective), front(designs, objective)
    sign = -1 if value(good[0]) < 0 else 1
    apart = set(map(id, chosen))
    rest = [one for one in good if id(one) not in apart]
    sources = {name: _columns(those, lambda one: sign * value(one)) for name, those in ((ALL, rest), (FRONT, chosen))}
    made = [_plot(sources, cost, label, unit) for cost, label in COSTS.items()]
    plots, ids = embedded("designs", made)
    legend = [("", list(COLOURS.items()))]
    sections = [Section(f"{objective} over {label}", f"Each point is a design: {unit} over {label}.", [place], legend)
                for place, label in zip(ids, COSTS.values(), strict=True)]  # fmt: skip
    rows: list[Mapping[str, Any]] = [columns(one) for one in chosen[:ROWS]]
    varied = [name for name in rows[0] if name in ("t", "c", "k", "ms", "frames/s") or
              len({columns(one)[name] for one in good}) > 1]  # fmt: skip
    return filled("explore.html.j2", title=title, text=text, views=[View(plots, sections=sections)], names=varied,
                  rows=[[row[name] for name in varied] for row in rows], more=max(0, len(chosen) - ROWS))  # fmt: skip


def _columns(rows: Sequence[Design], value: Callable[[Design], float]) -> ColumnDataSource:
    """Numbers in four bytes: there may be many rows. All plots have them from here."""
    numbers: dict[str, Sequence[float]] = {cost: [one.resources[cost] for one in rows] for cost in COSTS}
    numbers |= {"value": [value(one) for one in rows], "ms": [one.ms for one in rows], "fps": [one.fps for one in rows],
                "used": [100 * one.utilization for one in rows]}  # fmt: skip
    points = [one.point for one in rows]
    numbers |= {name: [getattr(point, name) or 0 for point in points] for name in POINT}
    made = source({"model": [point.model for point in points]})
    for name, column in numbers.items():
        made.data[name] = np.array(column, np.float32)
    return made


def _plot(sources: Mapping[str, ColumnDataSource], cost: str, label: str, unit: str) -> figure:
    made = plot(f"{unit} over {label}", height=300, zoom="both")
    made.xaxis.axis_label, made.yaxis.axis_label = label, unit
    made.xaxis.formatter = short()
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    drawn = [
        made.scatter(cost, "value", source=rows, size=8 if name == FRONT else 5, color=COLOURS[name],
                     fill_alpha=0.9 if name == FRONT else 0.4, line_color=None)
        for name, rows in sources.items()
    ]  # fmt: skip
    tooltips(made, drawn, [
        ("@model", "@t × @c × @k, batch @batch"), ("bits", "weights @weight_ports × @weights, data @data"),
        ("ring", "@weight_depth words (0: as needed), weights of @weight_bits bits (0: as quantized)"),
        ("gives", "@ms{0.000} ms, @fps{0,0.0} frames per second, @used{0.0}% used"), (label, f"@{cost}{{0,0}}"),
    ])  # fmt: skip
    return made
