"""Which unit a module belongs to, under the names of either time."""

from __future__ import annotations

import pytest

from hwgen.estimate.units import UNITS, features, unit_of
from hwgen.machine.params import HwParams


@pytest.mark.parametrize(
    ("module", "unit"),
    [
        ("core.datapath.array.pair0", "array"), ("core_datapath_softmax_score_buffer", "softmax"),
        ("core.datapath.post.lane0.table", "post"), ("core.datapath", "datapath"), ("core.datapath.y", "datapath"),
        ("core.weights.reader", "control"), ("core", "control"), ("hwgen_accelerator", "control"),
    ],
)  # fmt: skip
def test_unit(module: str, unit: str) -> None:
    assert unit_of(module) == unit


@pytest.mark.parametrize("unit", UNITS)
def test_features_grow_with_the_machine(unit: str) -> None:
    small, large = (features(unit, HwParams(t=n, c=n, k=n, max_tokens=64 * n)) for n in (2, 16))
    assert small["1"] == large["1"] == 1
    assert all(large[name] >= small[name] for name in small)
