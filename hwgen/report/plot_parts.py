"""Plots of a run by part of the network: where cycles went, the roofline, what is fetched."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from bokeh.models import FactorRange, FixedTicker, NumeralTickFormatter, Range1d
from bokeh.plotting import figure

from hwgen.build import Build
from hwgen.estimate.cycles import CAUSES
from hwgen.report.parts import Part
from hwgen.report.style import CAUSE_COLOURS, INK, KIND_COLOURS, MUTED, plot, short, source, tooltips
from hwgen.report.timeline import BUSY

__all__ = ["KINDS", "cycles_plot", "roofline_plot", "traffic_plot", "used_causes", "used_kinds"]

#: Of bytes, as they are stacked.
KINDS = ("q, k, v", "projection", "MLP", "gate", "experts", "embedding", "head", "tables", "image",
         "stream", "output")  # fmt: skip
#: Columns before and behind the layers': short, as there may be many.
FIRST, LAST = "in", "out"
_LAYER = re.compile(r"layers\.(\d+)\.")


def columns(parts: Sequence[Part]) -> dict[str, list[Part]]:
    """A column for the embedding, each layer, the head."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        layer = _LAYER.match(part.name)
        column = layer[1] if layer else {"embed": FIRST, "head": LAST}[part.name]
        found.setdefault(column, []).append(part)
    return {name: those for name, those in found.items() if any(part.cycles or part.bytes for part in those)}


def used_causes(parts: Sequence[Part]) -> list[str]:
    """Those that cost cycles, for the legend."""
    return [BUSY, *(cause for cause in CAUSES if any(part.stalls.get(cause) for part in parts))]


def used_kinds(parts: Sequence[Part]) -> list[str]:
    return [kind for kind in KINDS if any(part.bytes.get(kind) for part in parts)]


def cycles_plot(parts: Sequence[Part]) -> figure:
    """Cycles of each layer, those with an array step at the bottom, above them what the array waited for."""

    def cycles(part: Part, cause: str) -> int:
        return part.busy if cause == BUSY else part.stalls.get(cause, 0)

    return _stacked("Cycles per layer", parts, used_causes(parts), cycles, CAUSE_COLOURS, "clock cycles",
                    {BUSY: "array steps"})  # fmt: skip


def traffic_plot(parts: Sequence[Part]) -> figure:
    """Bytes that each layer moves over the memory's ports."""
    return _stacked("Bytes from and to DRAM per layer", parts, used_kinds(parts),
                    lambda part, kind: part.bytes.get(kind, 0), KIND_COLOURS, "bytes", {})  # fmt: skip


def _stacked(
    title: str, parts: Sequence[Part], kinds: Sequence[str], value: Callable[[Part, str], int],
    colours: Mapping[str, str], unit: str, names: Mapping[str, str],
) -> figure:  # fmt: skip
    """A bar for each column, a piece for each kind, its sum over the column's parts."""
    stacks = columns(parts)
    totals = [sum(value(part, kind) for part in those for kind in kinds) for those in stacks.values()]
    made = plot(title, height=290, x_range=FactorRange(factors=list(stacks)),
                y_range=Range1d(start=0, end=1.05 * max(*totals, 1)))  # fmt: skip
    made.xgrid.grid_line_color = None
    made.yaxis.axis_label = unit
    made.yaxis.formatter = short()
    made.xaxis.axis_label = f"layer; {FIRST}: embedding, {LAST}: head"
    base = np.zeros(len(stacks))
    drawn = []
    for kind in kinds:
        heights = np.array([sum(value(part, kind) for part in those) for those in stacks.values()])
        data = source({
            "layer": stacks, "bottom": base, "top": base + heights, "value": heights,
            "share": [f"{100 * height / max(total, 1):.1f}%" for height, total in zip(heights, totals, strict=True)],
            "kind": [names.get(kind, kind)] * len(stacks),
            "what": [", ".join(part.name for part in those) for those in stacks.values()],
        })  # fmt: skip
        drawn.append(made.vbar(x="layer", bottom="bottom", top="top", width=0.8, source=data, color=colours[kind],
                               line_color=None, hover_fill_alpha=0.7))  # fmt: skip
        base = base + heights
    tooltips(made, drawn, [("", "@what"), ("@kind", f"@value{{0,0}} {unit}, @share")])
    return made


def roofline_plot(build: Build, parts: Sequence[Part]) -> figure:
    """Useful MACs per cycle of each part over its MACs per byte of DRAM, beneath what array and buses allow."""
    p = build.params
    width = (p.weight_bus + p.data_bus) / 8
    rows = [part for part in parts if part.macs and part.cycles]
    reads = [max(sum(part.bytes.values()), 1) for part in rows]
    xs = [part.macs / size for part, size in zip(rows, reads, strict=True)]
    ys = [part.macs / part.cycles for part in rows]
    low, high = min([*xs, p.macs / width]) / 2, max([*xs, p.macs / width]) * 2
    made = plot("Roofline", height=320, x_axis_type="log", y_axis_type="log", x_range=(low, high),
                y_range=(min([*ys, low * width]) / 1.5, p.macs * 1.6))  # fmt: skip
    made.xaxis.axis_label = "useful MACs per byte of DRAM"
    made.yaxis.axis_label = "useful MACs per cycle"
    made.xaxis.ticker, made.yaxis.ticker = (FixedTicker(ticks=[2**power for power in range(-10, 24)]) for _ in "xy")
    made.xaxis.formatter = made.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    knee = p.macs / width
    made.line([low, knee, high], [low * width, p.macs, p.macs], line_color=INK, line_width=2)
    made.text([high / 1.1], [p.macs], [f"array: {p.macs:,} MACs per cycle"], text_align="right", text_baseline="bottom",
              text_font_size="12px", text_color=MUTED, y_offset=-3)  # fmt: skip
    kinds = [part.name.rpartition(".")[2] for part in rows]
    drawn = made.scatter(
        "x", "y", size=10, fill_alpha=0.75, line_color=None, color="colour",
        source=source({
            "x": xs, "y": ys, "name": [part.name for part in rows], "macs": [part.macs for part in rows],
            "bytes": reads, "cycles": [part.cycles for part in rows], "colour": [KIND_COLOURS[kind] for kind in kinds],
            "share": [f"{100 * y / min(p.macs, x * width):.0f}%" for x, y in zip(xs, ys, strict=True)],
        }),
    )  # fmt: skip
    tooltips(made, [drawn], [
        ("", "@name"), ("per cycle", "@y{0.0} MACs, @share of what is possible"),
        ("", "@macs{0,0} MACs in @cycles{0,0} cycles, @bytes{0,0} bytes"),
    ])  # fmt: skip
    return made
