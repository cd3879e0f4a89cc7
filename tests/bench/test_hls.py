"""C-simulation at full size: what was measured keeps the limits, and a row that does not is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.hls import MODELS, RESULTS, wrong

ROWS = json.loads(RESULTS.read_text())


def test_what_was_measured_keeps_the_limits() -> None:
    assert {row["model"] for row in ROWS} == {*MODELS, "mnist_m3vit"}
    assert [wrong(row) for row in ROWS] == [[]] * len(ROWS)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"bit_exact": False}, "bits differ"),
        ({"seconds_per_image": 20.1}, "slow"),
        ({"compile_seconds": 20.1}, "compiles slowly"),
        ({"rtl_cycles": 1}, "not the RTL's cycles"),
    ],
)
def test_a_row_beyond_them_is_found(changes: dict[str, Any], what: str) -> None:
    assert wrong(ROWS[0] | changes) == [what]
