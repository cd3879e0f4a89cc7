"""A design behind few pins."""

from __future__ import annotations

import re

import pytest

from hwgen.flows.pins import few_pins


@pytest.mark.parametrize(("family", "oscillator"), [("nexus", "OSCA"), ("ecp5", "OSCG")])
def test_few_pins(family: str, oscillator: str) -> None:
    inner = (
        "module inner(ap_clk, a, b, c, d);\n  input ap_clk;\n  input [2:0] a;\n  output [4:0] b;\n  input [1:0] c;\n"
        "  output d;\nendmodule\n"
    )
    text = few_pins(inner, "inner", "outer", family)
    assert "module outer (input wire capture, input wire in, output wire out);" in text
    assert re.findall(r"(\w+) #\(.*\) oscillator", text) == [oscillator]
    for connection in (".ap_clk(clk)", ".a(to[0 +: 3])", ".c(to[3 +: 2])", ".b(from[0 +: 5])", ".d(from[5 +: 1])"):
        assert connection in text
    assert "reg [4:0] to;" in text
    assert "wire [5:0] from;" in text
