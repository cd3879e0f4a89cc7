"""Which modules are synthesized apart: large ones, repeated ones, those asked for; black boxes in their parents."""

from __future__ import annotations

import pytest

from hwgen.flows import parts
from hwgen.flows.parts import partition


def module(name: str, *children: str, size: int = 10) -> str:
    instances = "\n".join(f"  {child} i{number} (\n    .clk(clk)\n  );" for number, child in enumerate(children))
    body = "\n".join(f"  wire [{n}:0] {name}_{n};" for n in range(size))
    return f"module {name}(clk);\n  input clk;\n{body}\n{instances}\nendmodule\n"


VERILOG = "".join((
    module("top_small"), module("top_inside"), module("top_big", "top_inside", size=100), module("top_pair", size=40),
    module("top_lane", "top_pair"), module("top", "top_small", "top_big", "top_lane", "top_lane"),
))  # fmt: skip


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LARGE", 2000)
    monkeypatch.setattr(parts, "REPEATED", 700)


def test_large_and_repeated_modules_are_parts() -> None:
    found = {part.name: part.verilog for part in partition(VERILOG, "top")}
    assert list(found) == ["top_big", "top_pair", "top"]
    assert "module top_lane(clk);" in found["top"] and "(* blackbox *)\nmodule top_pair(clk);" in found["top"]
    assert "module top_small(clk);\n  input clk;\n  wire" in found["top"]
    assert "(* blackbox *)\nmodule top_big(clk);\n  input clk;\nendmodule\n" in found["top"]
    assert "module top_inside(clk);" in found["top_big"] and "top_inside" not in found["top"]
    assert "top_small" not in found["top_big"]


def test_what_is_asked_for_is_a_part() -> None:
    assert "top_small" in [part.name for part in partition(VERILOG, "top", ("small",))]
    assert "top_small" not in [part.name for part in partition(VERILOG, "top", ("mall",))]


def test_a_part_does_not_depend_on_the_inside_of_others() -> None:
    """So that what is kept of it stays valid."""
    other = VERILOG.replace("top_big_7;", "top_big_other;")
    before, after = ({part.name: part.verilog for part in partition(text, "top")} for text in (VERILOG, other))
    assert {name for name in before if before[name] != after[name]} == {"top_big"}
