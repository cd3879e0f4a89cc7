"""Verilog as `hwgen.rtl.emit` writes it: modules, slices of buses, identical modules once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hwgen.build import build
from hwgen.flows.modules import Module, merge, narrow, order, parse, ports, stub
from hwgen.machine.emission import TOP
from hwgen.network import description
from sim.simulate import load_images, simulate
from tests.random_model import random_description

LEAF = """
// hand-written
module leaf #(
    parameter WIDTH = 8
) (input wire clk, output reg [WIDTH-1:0] q);
    always @(posedge clk) q <= ~q;
endmodule
"""


def lane(number: int, low: int, *, invert: bool = False) -> str:
    """A lane that reads four bits of a bus, with a leaf and a name that Yosys has invented."""
    name = f"\\top.lanes.lane{number}"
    return f"""
module {name} (clk, bus, y);
  reg \\$auto$verilog_backend.cc:2355:dump_module${number}  = 0;
  input clk;
  wire clk;
  input [15:0] bus;
  wire [15:0] bus;
  output [3:0] y;
  reg [3:0] y;
  wire [3:0] q;
  always @(posedge clk)
    y <= {"~" if invert else ""}bus[{low + 3}:{low}] ^ {{ bus[{low}], q[2:0] }};
  always @* if (\\$auto$verilog_backend.cc:2355:dump_module${number} ) begin end
  leaf #(
    .WIDTH(32'd4)
  ) inner (
    .clk(clk),
    .q(q)
  );
endmodule
"""


def design(*lanes: str) -> str:
    instances = "\n".join(
        f"  \\top.lanes.lane{number}  lane{number} (\n    .bus(\\wide bus ),\n    .clk(clk),\n"
        f"    .y(y[{4 * number + 3}:{4 * number}])\n  );"
        for number in range(len(lanes))
    ).replace("\\wide bus ", "wide")
    return f"""{LEAF}{"".join(lanes)}
(* top = 1 *)
module top (clk, wide, y);
  input clk;
  input [15:0] wide;
  output [{4 * len(lanes) - 1}:0] y;
  wire [15:0] wide;
{instances}
endmodule
"""


def test_parse() -> None:
    modules = parse(design(lane(0, 0), lane(1, 4)))
    assert list(modules) == ["leaf", "\\top.lanes.lane0", "\\top.lanes.lane1", "top"]
    top = modules["top"]
    assert top.instances == (("lane0", "\\top.lanes.lane0"), ("lane1", "\\top.lanes.lane1"))
    assert modules["\\top.lanes.lane0"].children == ["leaf"]
    assert [module.generic for module in modules.values()] == [True, False, False, False]
    assert ports(top) == [("input", "clk", 1), ("input", "wide", 16), ("output", "y", 8)]
    assert order(modules, "top") == ["leaf", "\\top.lanes.lane0", "\\top.lanes.lane1", "top"]


def test_lanes_of_a_bus_become_one_module() -> None:
    modules = narrow(parse(design(lane(0, 0), lane(1, 4), lane(2, 12))))
    text = modules["\\top.lanes.lane1"].text
    assert "input [3:0] bus;" in text and "wire [3:0] bus;" in text
    assert re.sub(r"\s", "", text).count("bus[3:0]^{bus[0],q[2:0]}") == 1
    merged = merge(modules, "top")
    assert list(merged) == ["leaf", "\\top.lanes.lane0", "top"]
    assert merged["top"].children == ["\\top.lanes.lane0"] * 3
    slices = re.findall(r"assign (\\narrow\$\d+) = wide;.*?\.bus\(\1 \[(\d+):(\d+)\]\)", merged["top"].text, re.S)
    assert [(int(high), int(low)) for _, high, low in slices] == [(3, 0), (7, 4), (15, 12)]


def test_unlike_modules_stay() -> None:
    merged = merge(narrow(parse(design(lane(0, 0), lane(1, 4, invert=True)))), "top")
    assert list(merged) == ["leaf", "\\top.lanes.lane0", "\\top.lanes.lane1", "top"]


@pytest.mark.parametrize("use", ["bus", "bus[q]", "bus[q +: 4]"])
def test_a_bus_of_which_more_is_read_stays_wide(use: str) -> None:
    text = lane(1, 4).replace("endmodule", f"  assign z = {use};\nendmodule")
    modules = parse(design(lane(0, 0), text))
    assert narrow(modules)["\\top.lanes.lane1"].text == modules["\\top.lanes.lane1"].text


def test_parents_of_merged_modules_are_merged() -> None:
    """Two modules that differ in nothing but which copy of a lane they have."""
    row = "\nmodule \\row{0} (clk);\n  input clk;\n  \\cell{0}  c (\n    .clk(clk)\n  );\nendmodule\n"
    cell = "\nmodule \\cell{0} (clk);\n  input clk;\nendmodule\n"
    rows = "".join(f"  \\row{n}  r{n} (\n    .clk(clk)\n  );\n" for n in (0, 1))
    top = f"\nmodule top (clk);\n  input clk;\n{rows}endmodule\n"
    merged = merge(parse("".join(part.format(n) for part in (cell, row) for n in (0, 1)) + top), "top")
    assert list(merged) == ["\\cell0", "\\row0", "top"] and merged["top"].children == ["\\row0", "\\row0"]


def test_stub() -> None:
    text = stub(parse(design(lane(0, 0)))["\\top.lanes.lane0"])
    assert text.startswith("(* blackbox *)\nmodule \\top.lanes.lane0 (clk, bus, y);\n")
    assert "output [3:0] y;" in text and "always" not in text and text.endswith("endmodule\n")
    assert Module("a", text).children == []


@pytest.mark.slow
def test_a_merged_accelerator_computes_the_same(tmp_path: Path) -> None:
    description.save(random_description(1), tmp_path / "model")
    text = "model: model\narray: {t: 4, c: 4, k: 4}\nbuses: {weights: 64, data: 64}\n"
    (tmp_path / "config.yaml").write_text(text)
    made = build(tmp_path / "config.yaml", tmp_path / "out")
    before = parse(made.verilog)
    after = merge(narrow(before), TOP)
    assert len(after) < 0.8 * len(before)
    (made.path / "rtl" / f"{TOP}.v").write_text("\n".join(module.text for module in after.values()) + "\n")
    images, _ = load_images(made, 1)
    assert simulate(made, images).identical
