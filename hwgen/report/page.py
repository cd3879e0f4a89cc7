"""The report of a build: one HTML page with everything in it, plots and library too; it needs no network.

The plots are Bokeh's. `hwgen.report.style` has their look, templates/report the page's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bokeh.models import Range1d
from bokeh.plotting import figure
from markupsafe import Markup

from hwgen.build import Build
from hwgen.estimate.cycles import estimate
from hwgen.machine.devices import Device
from hwgen.report import plot_parts, plot_tensors, plot_timeline
from hwgen.report.buffers import depths, stays
from hwgen.report.cards import CLOCK, Card, cards
from hwgen.report.embed import embedded, filled, write_page
from hwgen.report.estimated import estimated
from hwgen.report.parts import Part, parts
from hwgen.report.result import Cost, Run
from hwgen.report.style import CAUSE_COLOURS, KIND_COLOURS
from hwgen.report.timeline import Timeline

__all__ = ["page", "write_page"]

#: What a page without a run says in the place of what only a simulation knows.
SIMULATE = "Only a simulation knows:", "hwgen sim BUILD --timeline", "hwgen report BUILD"
QUANTIZE = (
    "The quantizer's report has it:", "hwgen quantize … --report report.json",
    "hwgen report BUILD --quantization report.json",
)  # fmt: skip


#: Heading, if there are several; (name, colour) of each.
Legend = tuple[str, Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Section:
    """Plots under their title and legends. Without a plot, `missing` says how to get it: a text,
    then commands."""

    title: str
    text: str
    plots: Sequence[figure] = ()
    legends: Sequence[Legend] = ()
    missing: Sequence[str] = ()
    ids: list[str] = field(default_factory=list)


#: Parts of the network in legends.
PARTS = {"embed": "embedding", "attention": "attention", "mlp": "MLP, experts", "head": "head"}


@dataclass(frozen=True)
class View:
    """All of one task."""

    task: str
    cards: list[Card]
    sections: list[Section]
    parts: list[Part]
    causes: list[str]
    plots: Markup  #: the plots as JSON


def page(
    build: Build, run: Run | None = None, cost: Cost | None = None, *, device: Device | None = None, mhz: float = CLOCK,
    progress: Callable[[str], None] = lambda line: None,
) -> str:  # fmt: skip
    """The page's text. run, cost: what `hwgen.report.result` reads; mhz: the clock in MHz."""
    views = []
    for task in (task.name for task in build.model.model.tasks):
        progress(f"drawing {task}")
        views.append(_view(build, task, run, cost, device, mhz))
    return filled("page.html.j2", build=build, p=build.params, model=build.model.model, run=run, views=views)


def _view(build: Build, task: str, run: Run | None, cost: Cost | None, device: Device | None, mhz: float) -> View:
    latency = run.latency if run else 40
    guess = estimate(build.compiled, task, build.params, latency=latency)
    measured = run.tasks.get(task) if run else None
    timeline = measured and measured.timeline
    shown = timeline or estimated(build, task, guess)
    rows = parts(build, shown)
    sections = _sections(build, shown, rows, measured.experts if measured else {}, cost)
    plots, ids = embedded(task, [one for section in sections for one in section.plots])
    for section in sections:
        section.ids.extend(ids[: len(section.plots)])
        ids = ids[len(section.plots) :]
    return View(task, cards(build, task, measured, guess, cost, device, mhz), sections, rows,
                plot_parts.used_causes(rows), plots)  # fmt: skip


def _sections(
    build: Build, timeline: Timeline, rows: Sequence[Part], experts: dict[str, list[float]], cost: Cost | None
) -> list[Section]:
    """In the order of the page."""
    cycles = Range1d(start=0, end=timeline.cycles, bounds=(0, timeline.cycles))
    simulated = timeline.source == "simulation"
    causes = [(cause, CAUSE_COLOURS[cause]) for cause in plot_parts.used_causes(rows)]
    named = [(name, KIND_COLOURS[kind]) for kind, name in PARTS.items()]
    runs = f"The first run of {timeline.batch} image{'s' * (timeline.batch > 1)}" if simulated else "By the cycle model"
    found = [
        Section("Timeline", f"{runs}: when each instruction was on its unit, and what kept the array from a step. Drag "
                "to zoom, Ctrl and wheel to zoom on, or move the grey window of the strip below. The array's colours "
                "are parts of the network, those of the waits causes.",
                (plot_timeline.timeline_plot(timeline, cycles), plot_timeline.overview_plot(timeline, cycles)),
                [("array and memory:", named), ("waits:", causes[1:])]),
        Section("Cycles per layer", "Array steps, and above them the cycles without one, by what they waited for. A "
                "cycle without a step counts for the instruction that was waited for.", (plot_parts.cycles_plot(rows),),
                [("", [("array steps", CAUSE_COLOURS["busy"]), *causes[1:]])]),
        Section("Roofline", "Beneath the flat line the array is the limit, beneath the slope the memory's ports. A "
                "part whose weights came while another one was computed may lie above the slope.",
                (plot_parts.roofline_plot(build, rows),), [("", named)]),
        Section("Memory traffic", "Bytes per cycle over each port of the memory; the grey band is what the weight port "
                "cannot give.", (plot_timeline.traffic_plot(build, timeline, cycles),) if simulated else (),
                [("", [("weights", KIND_COLOURS["weights"]), ("data in", KIND_COLOURS["image"]),
                       ("data out", KIND_COLOURS["output"])])], SIMULATE),
        Section("Bytes per layer", "What each layer fetches from DRAM, and what goes back.",
                (plot_parts.traffic_plot(rows),),
                [("", [(kind, KIND_COLOURS[kind]) for kind in plot_parts.used_kinds(rows)])]),
    ]  # fmt: skip
    if any(layer.mlp.kind == "moe" for layer in build.model.model.layers):
        found.append(Section("Experts", "Rows of an image that each expert gets, the mean of the simulated images.",
                             (plot_tensors.experts_plot(experts),) if experts else (), (), SIMULATE))  # fmt: skip
    found.append(Section(
        "Quantization over the depth", "Signal to quantization noise of each tensor against the float network; of a "
        "layer's experts the worst.", (plot_tensors.sqnr_plot(cost.tensors),) if cost else (),
        [("", list(plot_tensors.sqnr_kinds(cost.tensors).items()))] if cost else (), QUANTIZE,
    ))  # fmt: skip
    places = plot_tensors.buffers_plot(stays(build, timeline), depths(build.params), cycles)
    found.append(Section("Buffers", "Which tensor has which words of the buffers on chip, from its first write to its "
                         "last read; a lane's height is the buffer's depth. X is the residual stream.", (places,),
                         [("", named)]))  # fmt: skip
    return found
