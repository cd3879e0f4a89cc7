"""Plots of tensors: the load of the experts, what quantization costs over the depth, where tensors lie on chip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bokeh.models import FactorRange, Range1d
from bokeh.plotting import figure

from hwgen.report.buffers import BUFFERS, Stay
from hwgen.report.parts import part_of
from hwgen.report.result import TensorCost
from hwgen.report.style import EMPTY, INK, KIND_COLOURS, colour, cycles_axis, lanes, plot, source, tooltips

__all__ = ["SQNR_KINDS", "buffers_plot", "experts_plot", "sqnr_kinds", "sqnr_plot"]

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
#: Tensors of a layer in the order of the computation; where in the layer they are drawn.
SQNR_KINDS = {
    "norm1": 0.05, "q": 0.15, "k": 0.2, "v": 0.25, "context": 0.35, "attn": 0.45, "norm2": 0.6, "pre": 0.7,
    "hidden": 0.8, "mlp": 0.95,
}  # fmt: skip
STREAM = ("embed", "attn", "mlp")


def experts_plot(loads: Mapping[str, Sequence[float]]) -> figure:
    """A row for each layer with experts: how many rows of an image each gets. Darker is more; empty ones are bare."""
    layers, count = list(loads), max(len(rows) for rows in loads.values())
    experts = FactorRange(factors=[str(number) for number in range(count)])
    depth = FactorRange(factors=[name.removeprefix("layers.") for name in reversed(layers)])
    made = plot("Rows per expert", height=90 + 24 * len(layers), x_range=experts, y_range=depth)
    made.grid.grid_line_color = None
    made.xaxis.axis_label, made.yaxis.axis_label = "expert", "layer"
    cells = [(name.removeprefix("layers."), str(expert), rows, sum(all_))
             for name, all_ in loads.items() for expert, rows in enumerate(all_)]  # fmt: skip
    most = max(rows for *_, rows, _ in cells) or 1
    drawn = made.rect(
        "expert", "layer", width=0.94, height=0.9, line_color=None, color="colour", alpha="alpha",
        source=source({
            "expert": [expert for _, expert, *_ in cells], "layer": [layer for layer, *_ in cells],
            "rows": [rows for *_, rows, _ in cells],
            "share": [f"{100 * rows / max(total, 1):.1f}%" for *_, rows, total in cells],
            "colour": [KIND_COLOURS["experts"] if rows else EMPTY for *_, rows, _ in cells],
            "alpha": [0.12 + 0.88 * rows / most if rows else 1.0 for *_, rows, _ in cells],
        }),
    )  # fmt: skip
    tooltips(made, [drawn], [("", "layer @layer, expert @expert"), ("rows per image", "@rows{0.0}, @share")])
    return made


def sqnr_kinds(tensors: Mapping[str, TensorCost]) -> dict[str, str]:
    """Kinds of tensors that are there, with their colours: the residual stream first."""
    found = {_place(name)[1] for name in tensors} - {""}
    kinds = [kind for kind in SQNR_KINDS if kind in found and kind not in STREAM]
    return {"residual stream": INK} | {kind: colour(number) for number, kind in enumerate(kinds)}


def sqnr_plot(tensors: Mapping[str, TensorCost]) -> figure:
    """Signal to quantization noise of each tensor over the depth. A line is the residual stream; of a layer's experts
    the worst is shown."""
    points: dict[tuple[float, str], tuple[str, float, float]] = {}
    for name, cost in tensors.items():
        at, kind = _place(name)
        if kind and cost.sqnr_db is not None:
            worst = points.get((at, kind))
            if worst is None or cost.sqnr_db < worst[1]:
                points[at, kind] = name, cost.sqnr_db, cost.clipped_error_share
    made = plot("SQNR over the depth", height=320)
    depth = max(at for at, _ in points)
    made.x_range = Range1d(start=-0.6, end=depth + 0.3)
    made.xaxis.ticker = [number + 0.5 for number in range(int(depth) + 1)]
    made.xaxis.major_label_overrides = {number + 0.5: str(number) for number in range(int(depth) + 1)}
    made.xaxis.axis_label, made.yaxis.axis_label = "layer", "SQNR, dB"
    colours = sqnr_kinds(tensors)
    stream = sorted((at, *points[at, kind]) for at, kind in points if kind in STREAM)
    drawn = []
    for label, shade in colours.items():
        rows = stream if label == "residual stream" else sorted(
            (at, *points[at, kind]) for at, kind in points if kind == label
        )  # fmt: skip
        data = source({
            "x": [row[0] for row in rows], "y": [row[2] for row in rows], "name": [row[1] for row in rows],
            "clipped": [f"{100 * row[3]:.1f}%" for row in rows],
        })  # fmt: skip
        if label == "residual stream":
            made.line("x", "y", source=data, color=shade, line_width=2)
        drawn.append(made.scatter("x", "y", source=data, size=7, color=shade, line_color=None))
    tooltips(made, drawn, [("", "@name"), ("SQNR", "@y{0.0} dB"), ("of its error by clipping", "@clipped")])
    return made


def _place(name: str) -> tuple[float, str]:
    """Where a tensor is drawn, and its kind; no kind: it is not."""
    if name == "embed":
        return -0.3, "embed"
    layer = _LAYER.match(name)
    kind = layer[2].rpartition(".")[2] if layer else ""
    return (int(layer[1]) + SQNR_KINDS[kind], kind) if layer and kind in SQNR_KINDS else (0.0, "")


def buffers_plot(stays: Sequence[Stay], depths: Mapping[str, int], cycles: Range1d) -> figure:
    """Words of each buffer's banks (its whole height is its depth) over time, and which tensor has them."""
    made = plot("Buffers", height=90 + 62 * len(BUFFERS), zoom="width", x_range=cycles)
    lanes(made, BUFFERS)
    cycles_axis(made)

    def height(stay: Stay, word: int) -> float:
        return -BUFFERS.index(stay.buffer) + 0.44 - 0.88 * word / depths[stay.buffer]

    whole = [(-row + 0.44, -row - 0.44) for row in range(len(BUFFERS))]
    made.hspan(y=[-row - 0.5 for row in range(len(BUFFERS) - 1)], line_color=INK, line_alpha=0.15)
    made.hstrip(y0=[low for _, low in whole], y1=[top for top, _ in whole], fill_color=EMPTY, line_color=None,
                level="underlay")  # fmt: skip
    drawn = made.quad(
        left="left", right="right", top="top", bottom="bottom", color="colour", fill_alpha=0.7, line_width=0.7,
        hover_fill_alpha=0.4,
        source=source({
            "left": [stay.begin for stay in stays], "right": [stay.end for stay in stays],
            "top": [height(stay, stay.first) for stay in stays],
            "bottom": [height(stay, stay.last + 1) for stay in stays], "name": [stay.tensor for stay in stays],
            "colour": [KIND_COLOURS[part_of(stay.tensor).rpartition(".")[2]] for stay in stays],
            "first": [stay.first for stay in stays], "last": [stay.last for stay in stays],
            "depth": [depths[stay.buffer] for stay in stays], "buffer": [stay.buffer for stay in stays],
        }),
    )  # fmt: skip
    tooltips(made, [drawn], [
        ("", "@name"), ("@buffer", "words @first to @last of @depth"), ("cycles", "@left{0,0} to @right{0,0}"),
    ])  # fmt: skip
    return made
