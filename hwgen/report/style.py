"""One look for all plots: sizes, colours, tools. In the page each colour of `DARK` has another one on dark ground.

Tested by tests/report/test_browser.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    NoOverlap,
    PanTool,
    Range1d,
    ResetTool,
    WheelZoomTool,
)
from bokeh.plotting import figure

__all__ = ["CAUSE_COLOURS", "DARK", "INK", "KIND_COLOURS", "MUTED", "PALETTE", "colour", "cycles_axis", "lanes", "plot",
           "short", "source", "tooltips"]  # fmt: skip

INK, MUTED, GRID, EMPTY = "#1b2330", "#5b6675", "#dfe3e8", "#f1f3f6"
#: On dark ground in the place of these.
DARK = {INK: "#e6eaf0", MUTED: "#a3adba", GRID: "#343c48", EMPTY: "#262d38"}
#: Told apart by most who see colours otherwise (after Okabe and Ito), on light and on dark ground.
PALETTE = ("#3b7dd8", "#e0872e", "#2f9e77", "#c0558f", "#8a6fd1", "#b39b00", "#d2553f", "#3aa6c4", "#7a8794", "#9c6b45")
#: What a cycle went to.
CAUSE_COLOURS = {
    "busy": "#3b7dd8", "weights": "#d2553f", "drain": "#b39b00", "pipeline": "#e0872e", "issue": "#7a8794",
    "norm": "#2f9e77", "router": "#c0558f", "mover": "#8a6fd1", "data": "#9c6b45", "fetch": "#3aa6c4",
}  # fmt: skip
#: Parts of a network, and what the bytes of the memory are.
KIND_COLOURS = {
    "embed": "#7a8794", "attention": "#3b7dd8", "mlp": "#e0872e", "head": "#2f9e77",
    "q, k, v": "#3b7dd8", "projection": "#3aa6c4", "MLP": "#e0872e", "gate": "#8a6fd1", "experts": "#c0558f",
    "embedding": "#7a8794", "tables": "#b39b00", "image": "#9c6b45", "output": "#d2553f", "weights": "#3b7dd8",
    "stream": "#5b8c5a", "program": "#8a6fd1",
}  # fmt: skip
FONT = "system-ui, sans-serif"
LEFT = 64  #: pixels in front of a plot, for its axis


def colour(number: int) -> str:
    """A colour for each of a few things."""
    return PALETTE[number % len(PALETTE)]


def plot(title: str, *, height: int, zoom: str = "", **options: Any) -> figure:
    """An empty plot as wide as its place, for readers of screens named `title`. zoom: width or both, if any."""
    made = figure(
        height=height, sizing_mode="stretch_width", toolbar_location="above" if zoom else None, tools="",
        background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None, name=title, **options,
    )  # fmt: skip
    for axis in (*made.xaxis, *made.yaxis):
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color, axis.major_label_text_color = MUTED, INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = GRID
    for axis in made.xaxis:
        axis.major_label_policy = NoOverlap(min_distance=3)  # on a telephone
    for grid in (*made.xgrid, *made.ygrid):
        grid.grid_line_color = GRID
    made.toolbar.logo = None
    made.min_border_left, made.min_border_right = LEFT, 14  # time axes above each other begin at one place
    if zoom:
        box = BoxZoomTool(dimensions=zoom)  # type: ignore[arg-type]
        # The wheel scrolls the page; with a key it zooms.
        wheel = WheelZoomTool(dimensions=zoom, modifiers="ctrl")  # type: ignore[arg-type]
        made.add_tools(box, PanTool(dimensions=zoom), wheel, ResetTool())  # type: ignore[arg-type]
        made.toolbar.active_drag, made.toolbar.active_scroll = box, wheel
    return made


def short() -> CustomJSTickFormatter:
    """Of large counts: 250k, 1.5M."""
    return CustomJSTickFormatter(code=SHORT)


def cycles_axis(made: figure, label: str = "clock cycles") -> None:
    """The horizontal axis, in cycles."""
    made.xaxis.axis_label = label
    made.xaxis.formatter = short()


SHORT = """
const size = Math.abs(tick)
if (size >= 1e6) return (tick / 1e6).toLocaleString("en", {maximumFractionDigits: 2}) + "M"
if (size >= 1e4) return (tick / 1e3).toLocaleString("en", {maximumFractionDigits: 1}) + "k"
return tick.toLocaleString("en", {maximumFractionDigits: 2})
"""


def lanes(made: figure, names: Sequence[str]) -> None:
    """Rows of a height of one from the top down: row i around -i."""
    made.y_range = Range1d(start=-len(names) + 0.5, end=0.5)
    made.yaxis.ticker = FixedTicker(ticks=[-number for number in range(len(names))])
    made.yaxis.major_label_overrides = {-number: name for number, name in enumerate(names)}
    made.yaxis.minor_tick_line_color = None
    made.ygrid.grid_line_color = None


def source(columns: Mapping[str, Any]) -> ColumnDataSource:
    return ColumnDataSource({name: list(values) for name, values in columns.items()})


def tooltips(made: figure, of: Sequence[Any], rows: Sequence[tuple[str, str]], **options: Any) -> None:
    """What is shown where the pointer is on one of the glyphs."""
    # At the pointer: the middle of what is hovered may be out of sight, and a note there would not be shown.
    options = {"point_policy": "follow_mouse"} | options
    made.add_tools(HoverTool(renderers=list(of), tooltips=list(rows), visible=False, **options))
