"""The timeline as a plot: a lane for each unit, for what the array waits for, for each port of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import Range1d, RangeTool
from bokeh.models.annotations import BoxAnnotation
from bokeh.plotting import figure

from hwgen.build import Build
from hwgen.report.parts import part_of
from hwgen.report.perfetto import rates, unit_slices
from hwgen.report.style import (
    CAUSE_COLOURS,
    KIND_COLOURS,
    MUTED,
    cycles_axis,
    lanes,
    plot,
    source,
    tooltips,
)
from hwgen.report.timeline import BUSY, PORTS, Timeline

__all__ = ["LANES", "overview_plot", "stall_segments", "timeline_plot", "traffic_plot"]

#: Unit or port → its lane.
LANES = {
    "engine": "array", "waits": "waits", "norm": "norm", "router": "router", "mover": "mover", "data": "data",
    **{port: port for port in PORTS},
}  # fmt: skip
#: No more of them are drawn; shorter ones next to each other are put together.
SEGMENTS = 4000
#: Points of the curves over the whole run.
POINTS = 400


def timeline_plot(timeline: Timeline, cycles: Range1d) -> figure:
    """Hover tells instruction, tensor and stall causes; drag to zoom in."""
    ports = PORTS if timeline.transfers.port else ()
    names = [unit for unit in LANES if unit not in PORTS or unit in ports]
    made = plot("Timeline", height=58 + 30 * len(names), zoom="width", x_range=cycles)
    lanes(made, [LANES[name] for name in names])
    cycles_axis(made)
    units = _units(timeline, names)
    drawn = made.quad(source=source(units), left="left", right="right", top="top", bottom="bottom", color="colour",
                      line_color="colour", line_width=0.5, hover_fill_alpha=0.6)  # fmt: skip
    tooltips(made, [drawn], [
        ("", "@name"), ("instruction", "@number @op"), ("cycles", "@left{0,0} to @written{0,0}"), ("waited", "@waited"),
    ])  # fmt: skip
    waits = _waits(timeline, -names.index("waits"))
    drawn = made.quad(source=source(waits), left="left", right="right", top="top", bottom="bottom", color="colour",
                      line_color=None, hover_fill_alpha=0.6)  # fmt: skip
    tooltips(made, [drawn], [("no step", "@cause"), ("cycles", "@length{0,0} from @left{0,0}")])
    if ports:
        moved = _transfers(timeline, names)
        drawn = made.quad(source=source(moved), left="left", right="right", top="top", bottom="bottom", color="colour",
                          line_color=None, hover_fill_alpha=0.6)  # fmt: skip
        tooltips(made, [drawn], [
            ("", "@name"), ("bytes", "@bytes{0,0}"), ("cycles", "@left{0,0} to @right{0,0}, asked for at @asked{0,0}"),
        ])  # fmt: skip
    return made


def overview_plot(timeline: Timeline, cycles: Range1d) -> figure:
    """The array's utilization over the whole run, with the part that the others show."""
    whole, percent = Range1d(start=0, end=timeline.cycles), Range1d(start=0, end=100)
    made = plot("Part shown", height=96, x_range=whole, y_range=percent)
    cycles_axis(made, "")
    made.yaxis.ticker = [0, 50, 100]
    made.yaxis.axis_label = "array, %"
    times, busy = utilization(timeline)
    made.varea_step(x=times, y1=[0] * len(times), y2=busy, step_mode="after", color=CAUSE_COLOURS[BUSY], alpha=0.7)
    tool = RangeTool(x_range=cycles)
    tool.overlay.fill_color, tool.overlay.fill_alpha = MUTED, 0.2
    made.add_tools(tool)
    return made


def traffic_plot(build: Build, timeline: Timeline, cycles: Range1d) -> figure:
    """Bytes per cycle over each port, and what its bus gives at most."""
    p = build.params
    made = plot("Memory traffic", height=190, zoom="width", x_range=cycles)
    cycles_axis(made)
    made.yaxis.axis_label = "bytes per cycle"
    widths = dict(zip(PORTS, (p.weight_bus // 8, p.data_bus // 8, p.data_bus // 8), strict=True))
    made.y_range = Range1d(start=0, end=1.08 * max(widths.values()))
    bin_ = max(1, -(-timeline.cycles // POINTS))
    for port, shade in zip(PORTS, ("weights", "image", "output"), strict=True):
        values = rates(timeline, port, bin_)
        times = np.arange(len(values)) * bin_
        drawn = made.step(x="cycle", y="rate", mode="after", line_width=1.5, color=KIND_COLOURS[shade],
                          source=source({"cycle": times, "rate": values}))  # fmt: skip
        tooltips(made, [drawn], [(port, "@rate{0.0} bytes per cycle"), ("cycle", "@cycle{0,0}")], mode="vline",
                 line_policy="prev", attachment="above")  # fmt: skip
    made.add_layout(BoxAnnotation(bottom=widths["weights"], fill_color=MUTED, fill_alpha=0.15, line_color=MUTED))
    return made


def utilization(timeline: Timeline) -> tuple[list[int], list[float]]:
    """Begin of each of `POINTS` parts of the run, percent of its cycles in which the array took a step."""
    width = max(1, -(-timeline.cycles // POINTS))
    count = -(-timeline.cycles // width)
    busy = np.zeros(count + 1)
    causes = timeline.causes
    for cause, begin, end in zip(causes.cause, causes.begin, causes.end, strict=True):
        if cause != BUSY:
            continue
        first, last = min(begin // width, count), min((end - 1) // width, count)
        edges = np.clip(np.arange(first, last + 2) * width, begin, end)
        busy[first : last + 1] += np.diff(edges)
    return [width * number for number in range(count)], (100 * busy[:count] / width).round(1).tolist()


def stall_segments(timeline: Timeline, most: int = SEGMENTS) -> list[tuple[str, int, int]]:
    """(cause, begin, end) of cycles without a step, at most so many: where there are more, those next to each other go
    by the cause of most of their cycles, as long as they had together."""
    causes = timeline.causes
    found = [one for one in zip(causes.cause, causes.begin, causes.end, strict=True) if one[0] != BUSY]
    if len(found) <= most:
        return found
    width = max(1, -(-timeline.cycles // most))
    bins: dict[int, dict[str, int]] = {}
    for cause, begin, end in found:
        for number in range(begin // width, (end - 1) // width + 1):
            part = min(end, (number + 1) * width) - max(begin, number * width)
            here = bins.setdefault(number, {})
            here[cause] = here.get(cause, 0) + part
    return [(max(here, key=lambda cause: here[cause]), number * width, number * width + sum(here.values()))
            for number, here in sorted(bins.items())]  # fmt: skip


def _rows(names: Sequence[str], row: str) -> tuple[float, float]:
    """Top and bottom of a lane."""
    at = -names.index(row)
    return at + 0.38, at - 0.38


def _units(timeline: Timeline, names: Sequence[str]) -> dict[str, list[Any]]:
    """All instructions of all units."""
    columns: dict[str, list[Any]] = {
        key: [] for key in ("left", "right", "top", "bottom", "colour", "name", "number", "op", "written", "waited")
    }
    for unit in names:
        for begin, end, name, known in unit_slices(timeline, unit):
            top, bottom = _rows(names, unit)
            waits = sorted(((int(count), cause.removeprefix("stall ")) for cause, count in known.items()
                            if cause.startswith("stall ")), reverse=True)  # fmt: skip
            waited = ", ".join(f"{count:,} for {cause}" for count, cause in waits)
            kind = part_of(name).rpartition(".")[2]
            row = (begin, end, top, bottom, KIND_COLOURS[kind], name, known["instruction"], known["op"],
                   known["written"], waited or ("nothing" if unit == "engine" else "not counted"))  # fmt: skip
            for key, value in zip(columns, row, strict=True):
                columns[key].append(value)
    return columns


def _waits(timeline: Timeline, row: int) -> dict[str, list[Any]]:
    segments = stall_segments(timeline)
    return {
        "left": [begin for _, begin, _ in segments], "right": [end for *_, end in segments],
        "top": [row + 0.38] * len(segments), "bottom": [row - 0.38] * len(segments),
        "colour": [CAUSE_COLOURS[cause] for cause, *_ in segments], "cause": [cause for cause, *_ in segments],
        "length": [end - begin for _, begin, end in segments],
    }  # fmt: skip


def _transfers(timeline: Timeline, names: Sequence[str]) -> dict[str, list[Any]]:
    table, known = timeline.transfers, timeline.instructions.name
    rows = [_rows(names, port) for port in table.port]
    of = [None if number is None else known[number] for number in table.instruction]
    return {
        "left": table.begin, "right": table.end, "top": [top for top, _ in rows], "bottom": [low for _, low in rows],
        "colour": [KIND_COLOURS["weights" if kind == "weights" else kind] if name is None or kind != "weights"
                   else KIND_COLOURS[part_of(name).rpartition(".")[2]] for kind, name in zip(table.kind, of)],
        "name": [kind if name is None else f"{kind} of {name}" for kind, name in zip(table.kind, of)],
        "bytes": table.bytes, "asked": table.asked,
    }  # fmt: skip
