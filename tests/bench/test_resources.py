"""`bench.resources`: the fit is what the points give, the page what the fit gives; points cover what is fitted."""

from __future__ import annotations

import json

import pytest

from bench import resources
from bench.resources import POINTS, error_table, fit, points
from hwgen.common.strict_yaml import read_yaml
from hwgen.estimate.resources import TABLE
from hwgen.estimate.units import UNITS, features, fitted
from hwgen.machine.params import HwParams

ROWS = json.loads(POINTS.read_text())


def test_the_points_are_those_of_the_sweep() -> None:
    """In its order; those at its end may be missing, as each is written down when it is measured."""
    wanted = [(point.family, point.alone, point.held_back, point.params) for point in points()]
    found = [(row["family"], row["alone"], row["held_back"], row["params"]) for row in ROWS]
    assert found == wanted[: len(found)] and len(found) >= 16


def test_the_fit_is_made_from_the_points() -> None:
    assert read_yaml(TABLE) == fit(ROWS)


def test_the_page_shows_the_errors() -> None:
    assert error_table(ROWS) in resources.PAGE.read_text("utf-8")


def test_the_fit_finds_what_made_the_points() -> None:
    """Exact multiples of the features; a feature that would count negative is left out."""
    rows = [
        {"family": "xcup", "held_back": False, "alone": "array", "params": {"t": t, "c": c, "k": k},
         "units": {"array": {"lut": 7 + 3 * t * c + 2 * t * c * k, "ff": 5 * t * k + 11 * c * k}}}
        for t in (2, 4, 8) for c in (2, 8) for k in (2, 4, 16)
    ]  # fmt: skip
    table = fit(rows)["units"]["array of 27 bits"]
    assert table["lut"] == pytest.approx({"1": 7, "t·c": 3, "t·c·k": 2, "t·k": 0, "c·k": 0}, abs=0.01)
    assert table["ff"] == pytest.approx({"1": 0, "t·c": 0, "t·c·k": 0, "t·k": 5, "c·k": 11}, abs=0.01)
    falling = [
        row | {"units": {"array": {"lut": 1000 - row["params"]["t"] * row["params"]["c"], "ff": 1}}} for row in rows
    ]
    assert all(value >= 0 for value in fit(falling)["units"]["array of 27 bits"]["lut"].values())
    for row in rows:
        row["held_back"] = row["params"]["t"] == 8
        if row["held_back"]:
            row["units"]["array"] = {"lut": 0, "ff": 0}
    assert fit(rows)["units"]["array of 27 bits"]["lut"]["t·c·k"] == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("unit", UNITS)
def test_every_feature_was_varied(unit: str) -> None:
    seen = [HwParams(**row["params"]) for row in ROWS if not row["held_back"] and unit in row["units"]]
    rows = {fitted(unit, p) for p in seen}
    assert rows == ({"array of 27 bits", "array of 18 bits"} if unit == "array" else {unit})
    for feature in features(unit, seen[0]):
        if feature != "1":
            assert len({features(unit, p)[feature] for p in seen}) > 1, feature
