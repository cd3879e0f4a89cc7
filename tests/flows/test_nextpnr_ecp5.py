"""The flow `nextpnr-ecp5`: seeds, the fastest one's bitstream, cells by instance; on tiny designs."""

from __future__ import annotations

from hwgen.flows.flow import Job
from hwgen.flows.modules import parse
from hwgen.flows.nextpnr import modules_of
from hwgen.flows.nextpnr_ecp5 import BITSTREAM, part_options
from hwgen.flows.registry import find_flow
from hwgen.machine.devices import find_device

#: Two counters, one below the other, and a product of registers.
COUNTERS = """
module inner (ap_clk, q);
  input ap_clk;
  output [15:0] q;
  reg [15:0] q;
  always @(posedge ap_clk) q <= q + 1;
endmodule
module counters (ap_clk, a, b, q, p);
  input ap_clk;
  input [17:0] a;
  input [17:0] b;
  output [15:0] q;
  output [35:0] p;
  reg [35:0] p;
  reg [17:0] x;
  reg [17:0] y;
  wire [15:0] low;
  wire [15:0] q;
  inner below (
    .ap_clk(ap_clk),
    .q(low)
  );
  assign q = low ^ { low[7:0], low[15:8] };
  always @(posedge ap_clk) begin x <= a; y <= b; p <= x * y; end
endmodule
"""


def test_part() -> None:
    assert part_options(find_device("lfe5u-85f")) == ["--85k", "--speed", "8", "--package", "CABGA756"]


def test_cells_by_instance() -> None:
    names = ["dut.below.q_TRELLIS_FF_Q", "dut.below.q_LUT4_Z_1", "dut.x_TRELLIS_FF_Q", "shifted_TRELLIS_FF_Q", "$abc$1"]
    cells = {name: {"type": "TRELLIS_FF" if "FF" in name else "LUT4"} for name in names}
    found = {row.name: (row.usage.lut, row.usage.ff) for row in modules_of(cells, parse(COUNTERS), "counters")}
    assert found == {"counters": (1, 2), "below": (1, 1)}


def test_placed_and_routed() -> None:
    flow = find_flow("nextpnr-ecp5")
    report = flow.run(Job(COUNTERS, "counters", find_device("lfe5u-85f"), jobs=2, seeds=(1, 2)))
    assert set(report.fmax) == {1, 2} and all(mhz > 50 for mhz in report.fmax.values())
    assert report.total.dsp == 1 and report.total.bram36 == 0
    # the counter; the shift registers in place of 36 input and 52 output bits; the product's registers are inside
    assert report.total.ff == 16 + 36 + 52
    assert {row.name for row in report.modules} == {"counters", "below"}
    assert report.files[BITSTREAM].stat().st_size > 10_000
    assert set(report.tools) == {"yosys", "nextpnr-ecp5", "ecppack"}
