"""Multipliers: as many as Yosys puts into DSP slices, in every unit of every point of the sweep."""

from __future__ import annotations

import json

import pytest
from amaranth import Signal, signed, unsigned

from bench.resources import POINTS
from hwgen.estimate.multipliers import multipliers, pieces
from hwgen.machine.params import HwParams
from hwgen.rtl.arithmetic.product import _pieces

ROWS = [row for row in json.loads(POINTS.read_text()) if row["family"] == "xcup"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(map(str, row["params"].values())))
def test_as_many_as_yosys_maps(row) -> None:
    counted = multipliers(HwParams(**row["params"]))
    assert {unit: counted[unit] for unit in row["units"]} == {unit: use["dsp"] for unit, use in row["units"].items()}


@pytest.mark.parametrize("wide", [18, 27])
@pytest.mark.parametrize("shape", [unsigned, signed])
def test_pieces_are_those_of_the_hardware(wide: int, shape) -> None:
    for bits in range(2, 90):
        operand = Signal(shape(bits), name="operand")
        assert pieces(bits, shape is signed, wide) == [len(piece) for _, piece in _pieces(operand, wide)], bits


def test_two_tokens_share_a_wide_one() -> None:
    wide, narrow = (multipliers(HwParams(multiplier_bits=bits)) for bits in (27, 18))
    assert (wide["array"], narrow["array"]) == (512, 1024)
    assert narrow["norm"] > wide["norm"] and narrow["router"] > wide["router"] and narrow["post"] == wide["post"]
