"""Options whose value has parts, from text to what the jobs take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hwgen.cli.options import parse_normalize, parse_size, parse_tasks, parse_weight_bits
from hwgen.common.errors import HwgenError


def test_parsing() -> None:
    assert parse_size("8x12") == {"height": 8, "width": 12}
    assert parse_size("16") == {"height": 16, "width": 16}
    assert parse_normalize("0,1", "0.5,0.2") == {"mean": [0.0, 255.0], "std": [127.5, 51.0]}
    assert parse_normalize(None, None) is None
    assert parse_tasks("a,b:mean") == [{"name": "a"}, {"name": "b", "head": "mean"}]
    assert parse_weight_bits(4, ["x=8"]) == {"layers.*.moe.experts.*": 4, "x": 8}
    assert parse_weight_bits(None, []) is None


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (lambda: parse_size("8 by 8"), "--image-size\n  expected: HEIGHTxWIDTH, such as 224x224\n  found:    '8 by 8'"),
        (lambda: parse_normalize("a", "1"), "--mean\n  expected: numbers for pixels in 0..1, one per channel, such as"),
        (lambda: parse_normalize("1", None), "--std\n  expected: numbers for pixels in 0..1"),
        (lambda: parse_normalize("1", None), "found:    no value given\n  mend:     --mean and --std go together"),
        (lambda: parse_weight_bits(None, ["a"]), "--weight-bits\n  expected: PATTERN=4 or PATTERN=8\n  found:    'a'"),
    ],
)
def test_parsing_errors(parse: Callable[[], Any], text: str) -> None:
    with pytest.raises(HwgenError) as caught:
        parse()
    assert text in caught.value.text()
    assert caught.value.text().startswith("command line: --")
