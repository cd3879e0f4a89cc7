"""The designs as a page: the objective over what it costs, the front, and a table of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bokeh.models import NumeralTickFormatter
from bokeh.plotting import figure
from markupsafe import Markup

from hwgen.explore.evaluate import Design
from hwgen.explore.front import OBJECTIVES, best, front
from hwgen.report.embed import embedded, filled
from hwgen.report.style import KIND_COLOURS, MUTED, plot, short, source, tooltips

__all__ = ["ROWS", "columns", "page"]

#: Of the front's table, at most.
ROWS = 60
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
    made = [_plot(good, chosen, cost, label, unit, lambda one: sign * value(one)) for cost, label in COSTS.items()]
    plots, ids = embedded("designs", made)
    legend = [("", list(COLOURS.items()))]
    sections = [Section(f"{objective} over {label}", f"Each point is a design. {unit}.", [place], legend)
                for place, label in zip(ids, COSTS.values(), strict=True)]  # fmt: skip
    rows: list[Mapping[str, Any]] = [columns(one) for one in chosen[:ROWS]]
    varied = [name for name in rows[0] if name in ("t", "c", "k", "ms", "frames/s") or
              len({columns(one)[name] for one in good}) > 1]  # fmt: skip
    return filled("explore.html.j2", title=title, text=text, views=[View(plots, sections=sections)], names=varied,
                  rows=[[row[name] for name in varied] for row in rows], more=max(0, len(chosen) - ROWS))  # fmt: skip


def _plot(good: Sequence[Design], chosen: Sequence[Design], cost: str, label: str, unit: str, value: Any) -> figure:
    made = plot(f"{unit} over {label}", height=300, zoom="both")
    made.xaxis.axis_label, made.yaxis.axis_label = label, unit
    made.xaxis.formatter = short()
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    front_ = set(map(id, chosen))
    drawn = []
    for name, rows in ((ALL, [one for one in good if id(one) not in front_]), (FRONT, chosen)):
        data = source({
            "x": [one.resources[cost] for one in rows], "y": [value(one) for one in rows],
            "array": [f"{one.point.t} × {one.point.c} × {one.point.k}, {one.point.model}" for one in rows],
            "rest": [f"weights {one.point.weight_ports} × {one.point.weights}, data {one.point.data}, ring "
                     f"{one.point.weight_depth or 'auto'}, batch {one.point.batch}" for one in rows],
            "gives": [f"{one.ms:.3f} ms, {one.fps:,.1f} frames per second" for one in rows],
            "used": [f"{one.utilization:.1%}" for one in rows],
        })  # fmt: skip
        drawn.append(made.scatter("x", "y", source=data, size=8 if name == FRONT else 5, color=COLOURS[name],
                                  fill_alpha=0.9 if name == FRONT else 0.4, line_color=None))  # fmt: skip
    tooltips(made, drawn, [("", "@array"), ("", "@rest"), ("", "@gives"), ("utilization", "@used"), (label, "@x{0,0}")])
    return made
