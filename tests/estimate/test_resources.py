"""The estimate against what Yosys makes of machines that the fit has not seen; what fits a device."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.resources import POINTS, errors
from hwgen.estimate.resources import estimate_resources, first_fitting, total
from hwgen.machine.devices import find_device
from hwgen.machine.params import HwParams

MEASURED = list(errors(json.loads(POINTS.read_text())))
HELD_BACK = [one for one in MEASURED if one[0]["held_back"]]


def test_there_is_something_to_compare_with() -> None:
    assert len(HELD_BACK) >= 2 and len(MEASURED) >= 6
    assert max(HwParams(**row["params"]).macs for row, _, _ in HELD_BACK) == 1024


@pytest.mark.parametrize(("row", "taken", "said"), MEASURED, ids=lambda value: "")
def test_errors(row, taken, said) -> None:
    """DSP exact, block RAM within 10 %, LUTs and flip-flops within 20 %."""
    assert said.dsp == taken.dsp or row["family"] != "xcup"
    assert said.bram36 == pytest.approx(taken.bram36, rel=0.1) and said.uram == taken.uram
    assert said.lut == pytest.approx(taken.lut, rel=0.2)
    assert said.ff == pytest.approx(taken.ff, rel=0.2)


def test_ultra_ram_takes_the_large_memories() -> None:
    p = HwParams(weight_depth=8192)
    plain, ultra = (total(estimate_resources(replace(p, ultra_ram=ultra))) for ultra in (False, True))
    assert plain.uram == 0 < ultra.uram and ultra.bram36 < plain.bram36 - 200


def test_the_first_that_fits() -> None:
    large = HwParams(t=64, c=64, k=32)
    candidates = [large, HwParams(), HwParams(t=2, c=2, k=2)]
    assert first_fitting(candidates, find_device("xcu280")) == HwParams()
    assert first_fitting(candidates, find_device("lfe5u-85f")) is None  # its multipliers have 18 bits
    narrow = [replace(p, multiplier_bits=18, weight_bus=64, data_bus=64) for p in candidates]
    assert first_fitting(narrow, find_device("lfe5u-85f")) == narrow[2]
    assert first_fitting([large], find_device("xcu280")) is None
