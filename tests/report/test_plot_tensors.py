"""Loads, noise and places of tensors, as they are drawn."""

import pytest
from bokeh.models import Range1d

from hwgen.report.buffers import BUFFERS, depths, stays
from hwgen.report.plot_tensors import buffers_plot, experts_plot, sqnr_kinds, sqnr_plot
from hwgen.report.result import Cost, TensorCost
from hwgen.report.style import EMPTY
from tests.report.helpers import cost_of, simulated


def test_experts():
    made = experts_plot({"layers.1": [4.0, 0.0, 8.0], "layers.3": [1.0, 1.0, 2.0]})
    data = made.renderers[0].data_source.data
    assert made.y_range.factors == ["3", "1"] and made.x_range.factors == ["0", "1", "2"]
    assert list(zip(data["layer"], data["expert"], data["rows"], data["share"])) == [
        ("1", "0", 4.0, "33.3%"), ("1", "1", 0.0, "0.0%"), ("1", "2", 8.0, "66.7%"), ("3", "0", 1.0, "25.0%"),
        ("3", "1", 1.0, "25.0%"), ("3", "2", 2.0, "50.0%"),
    ]  # fmt: skip
    assert [colour == EMPTY for colour in data["colour"]] == [False, True, False, False, False, False]
    assert data["alpha"][2] == 1.0 and data["alpha"][3] == pytest.approx(0.23)


def test_layers_of_different_numbers_of_experts():
    made = experts_plot({"layers.0": [4.0], "layers.1": [1.0, 1.0, 2.0]})
    assert made.x_range.factors == ["0", "1", "2"] and len(made.renderers[0].data_source.data["rows"]) == 4


def test_sqnr(build):
    """The residual stream in its order; of experts the worst; tensors without noise, and those that have no place in
    the depth, are left out."""
    cost = Cost.model_validate(cost_of(build))
    tensors = dict(cost.tensors) | {
        "digit.output": TensorCost(sqnr_db=10.0, clipped_share=0.0, clipped_error_share=0.0),
        "layers.0.q": TensorCost(sqnr_db=None, clipped_share=0.0, clipped_error_share=0.0),
    }
    made = sqnr_plot(tensors)
    drawn = {tuple(one.data_source.data["name"]): one for one in made.renderers}
    stream = ("embed", "layers.0.attn", "layers.0.mlp", "layers.1.attn", "layers.1.mlp")
    assert stream in drawn and ("layers.0.hidden", "layers.1.expert.1.hidden") in drawn and ("layers.1.q",) in drawn
    assert not any("digit.output" in names for names in drawn)
    assert list(drawn[stream].data_source.data["y"]) == [tensors[name].sqnr_db for name in stream]
    assert list(drawn[stream].data_source.data["x"]) == sorted(drawn[stream].data_source.data["x"])
    assert list(sqnr_kinds(tensors)) == ["residual stream", "norm1", "q", "k", "v", "context", "norm2", "hidden"]


def test_buffers(build):
    """Each lane is a buffer from word 0 at its top to its last word at its bottom."""
    run = simulated(build, "digit")
    found, deep = stays(build, run), depths(build.params)
    made = buffers_plot(found, deep, Range1d(start=0, end=run.cycles))
    data = made.renderers[-1].data_source.data
    assert list(data["name"]) == [stay.tensor for stay in found]
    for stay, top, bottom in zip(found, data["top"], data["bottom"], strict=True):
        row = -BUFFERS.index(stay.buffer)
        assert row - 0.44 <= bottom + 1e-9 and bottom < top <= row + 0.44 + 1e-9
        assert (top - bottom) / 0.88 == pytest.approx((stay.last - stay.first + 1) / deep[stay.buffer])
    assert list(made.yaxis.major_label_overrides.values()) == list(BUFFERS)
