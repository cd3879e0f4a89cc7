"""Bars that are the parts' figures; points beneath the roof."""

import pytest

from hwgen.report.parts import Part, parts
from hwgen.report.plot_parts import cycles_plot, roofline_plot, traffic_plot, used_causes, used_kinds
from tests.report.helpers import simulated


@pytest.fixture
def rows(build):
    return parts(build, simulated(build, "digit"))


@pytest.mark.parametrize("plot, total", [
    (cycles_plot, lambda part: part.cycles), (traffic_plot, lambda part: sum(part.bytes.values())),
])  # fmt: skip
def test_bars(rows, plot, total):
    """Each layer's pieces lie on each other; the top is the sum of its attention and its MLP."""
    made = plot(rows)
    columns = list(made.x_range.factors)
    assert columns == ["in", "0", "1", "out"]
    height = [0.0] * len(columns)
    for piece in made.renderers:
        data = piece.data_source.data
        assert list(data["bottom"]) == height
        height = list(data["top"])
        assert list(data["top"]) == [low + value for low, value in zip(data["bottom"], data["value"], strict=True)]
    layers = [part for part in rows if part.name.startswith("layers.1.")]
    assert len(layers) == 2 and height[2] == sum(total(part) for part in layers) > 0
    assert sum(height) == sum(total(part) for part in rows)
    assert made.y_range.end >= max(height)


def test_legends_name_what_there_is():
    few = [Part("embed", 5, {"norm": 3, "issue": 0}, 10, {"image": 64}), Part("head", 1, {}, 0, {"output": 2})]
    assert used_causes(few) == ["busy", "norm"]
    assert used_kinds(few) == ["image", "output"]


def test_roofline(build, rows):
    """MACs and bytes of each part by hand; the roof's knee where array and buses are as fast."""
    made = roofline_plot(build, rows)
    p = build.params
    width = (p.weight_bus + p.data_bus) / 8
    roof = made.renderers[0].data_source.data
    assert roof["x"][1] * width == roof["y"][1] == roof["y"][2] == p.macs
    data = made.renderers[-1].data_source.data
    at = list(data["name"]).index("layers.1.mlp")
    part = next(part for part in rows if part.name == "layers.1.mlp")
    assert data["x"][at] == part.macs / sum(part.bytes.values()) and data["y"][at] == part.macs / part.cycles
    assert max(data["y"]) <= p.macs and made.y_range.start < min(data["y"]) and made.x_range.end > max(data["x"])
    assert len(data["name"]) == sum(bool(part.macs) for part in rows)
