"""What the plots over time draw: the run's figures, nothing twice, no more pieces than a browser draws at once."""

from itertools import pairwise

import numpy as np
import pytest
from bokeh.models import Quad, Range1d, RangeTool

from hwgen.report.plot_timeline import (
    LANES,
    overview_plot,
    stall_segments,
    timeline_plot,
    traffic_plot,
    utilization,
)
from hwgen.report.timeline import BUSY, Causes
from tests.report.helpers import simulated


@pytest.fixture
def made(build):
    return simulated(build, "digit")


@pytest.fixture
def cycles(made):
    return Range1d(start=0, end=made.cycles)


def test_timeline(made, cycles):
    plot = timeline_plot(made, cycles)
    assert plot.x_range is cycles
    units, waits, moved = (one.data_source.data for one in plot.renderers if isinstance(one.glyph, Quad))
    ran = [number for number, begin in enumerate(made.instructions.begin) if begin is not None]
    assert sorted(units["number"]) == ran
    assert sum(waits["length"]) == sum(end - begin for cause, begin, end in zip(
        made.causes.cause, made.causes.begin, made.causes.end) if cause != BUSY)  # fmt: skip
    assert sum(moved["bytes"]) == sum(made.transfers.bytes)
    rows = {(top, bottom) for data in (units, waits, moved) for top, bottom in zip(data["top"], data["bottom"])}
    assert len(rows) == len(LANES) == len(plot.yaxis.major_label_overrides)
    assert any("for" in text for text in units["waited"]) and "not counted" in units["waited"]


def test_without_transfers_there_are_no_lanes_for_them(build, made, cycles):
    none = made.transfers.model_copy(update={name: [] for name in made.transfers.model_dump()})
    plot = timeline_plot(made.model_copy(update={"transfers": none}), cycles)
    assert list(plot.yaxis.major_label_overrides.values()) == ["array", "waits", "norm", "router", "mover", "data"]


def test_utilization_is_the_share_of_steps(made, cycles):
    times, percent = utilization(made)
    width = times[1]
    busy = sum(share.busy for share in made.shares())
    assert sum(percent) / 100 * width == pytest.approx(busy, rel=0.01)
    assert max(percent) <= 100 and len(times) == len(percent)
    tool = next(tool for tool in overview_plot(made, cycles).tools if isinstance(tool, RangeTool))
    assert tool.x_range is cycles


def test_many_short_stalls_are_put_together():
    """As many cycles as before, each within its part of the run, by the cause of most."""
    rng = np.random.default_rng(1)
    edges = np.cumsum(rng.integers(1, 9, 20_001))
    names = ["busy" if number % 2 else ["weights", "norm"][number % 3 > 0] for number in range(20_000)]
    causes = Causes(cause=names, begin=edges[:-1].tolist(), end=edges[1:].tolist())
    made = type("Run", (), {"causes": causes, "cycles": int(edges[-1])})()
    found = stall_segments(made, most=500)
    assert len(found) <= 500
    lost = sum(end - begin for name, begin, end in zip(names, edges, edges[1:]) if name != "busy")
    assert sum(end - begin for _, begin, end in found) == lost
    assert all(one[2] <= other[1] for one, other in pairwise(found))
    assert sum(cause == "norm" for cause, *_ in found) > 400
    assert len(stall_segments(made, most=20_000)) == 10_000


def test_traffic(build, made, cycles):
    plot = traffic_plot(build, made, cycles)
    moved = [sum(one.data_source.data["rate"]) * one.data_source.data["cycle"][1] for one in plot.renderers]
    table = made.transfers
    for port, bytes_ in zip(("weights", "data in", "data out"), moved, strict=True):
        said = sum(size for at, size in zip(table.port, table.bytes) if at == port)
        assert bytes_ == pytest.approx(said)
    assert plot.y_range.end > build.params.weight_bus / 8
