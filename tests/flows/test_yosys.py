"""The flow `yosys` on modules with a known number of everything, and parts beside the whole."""

from __future__ import annotations

import pytest

from hwgen.flows import parts
from hwgen.flows.flow import Job, Report
from hwgen.flows.registry import find_flow
from hwgen.machine.devices import find_device
from hwgen.rtl.emit import to_verilog
from hwgen.rtl.engine.array import ComputeArray

#: A product, a block RAM and its registers, a large and a small memory of flip-flops, a latch, a counter of 48 bits.
EVERYTHING = """
module everything (clk, en, a, x, y, product, word, low, high, held, counter);
    input clk; input en; input [8:0] a; input [17:0] x; input [7:0] y;
    output reg [25:0] product; output reg [17:0] word; output reg [7:0] low; output reg [7:0] high;
    output reg held; output reg [47:0] counter;
    reg [17:0] xr; reg [7:0] yr;
    reg [17:0] block [0:511];
    (* ram_style = "registers" *) reg [7:0] large [0:511];
    (* ram_style = "registers" *) reg [7:0] small [0:31];
    always @(posedge clk) begin
        xr <= x; yr <= y; product <= xr * yr;
        if (en) begin block[a] <= x; large[a] <= y; small[a[4:0]] <= y; end
        word <= block[a]; low <= large[a]; high <= small[a[4:0]];
        counter <= counter + 1;
    end
    always @* if (en) held = x[0];
endmodule
"""


def run(verilog: str, top: str, device: str = "xczu9eg", **options: object) -> Report:
    return find_flow("yosys").run(Job(verilog, top, find_device(device), **options))  # type: ignore[arg-type]


def test_counts() -> None:
    report = run(EVERYTHING, "everything")
    total = report.total
    assert (total.dsp, total.bram36, total.uram, report.latches, report.ff_memories) == (1, 0.5, 0, 1, 1)
    # Memories, operands, the product and what was read, the counter; the latch. An inverter and twelve carries.
    assert total.ff == 8 * (512 + 32) + 26 + 26 + 16 + 48 + 1
    assert report.longest_path == 13
    assert [module.name for module in report.modules] == ["everything"] and report.fmax == {}


def test_row_pairs_are_mapped_once_and_share_their_multipliers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "REPEATED", 1000)
    said: list[tuple[str, int, int]] = []
    verilog = to_verilog(ComputeArray(t=8, c=2, k=2), "array")
    report = run(verilog, "array", say=lambda *step: said.append(step), jobs=2)
    # the last pair has nothing below it, so it is another one
    assert [(module.name, module.instances) for module in report.modules] == [("array", 1), ("pair0", 3)]
    assert report.total.dsp == 16 and report.latches == report.ff_memories == 0
    assert report.levels is not None and report.longest_path is not None
    assert 1 <= report.levels <= report.longest_path <= 12
    # What a row does is said by registers of its own: together they would drive 8 times 64 flip-flops.
    assert 64 <= report.largest_nets[0][1] < 150
    assert said[0][1:] == (0, 2) and said[-1][1:] == (2, 2)
    assert all(name and name != "?" for name in report.critical_path)


@pytest.mark.slow
def test_parts_take_what_the_whole_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    verilog = to_verilog(ComputeArray(t=4, c=4, k=4), "array")
    whole = run(verilog, "array")
    monkeypatch.setattr(parts, "LARGE", 1000)
    apart = run(verilog, "array")
    assert len(whole.modules) == 1 < len(apart.modules)
    assert (apart.total.dsp, apart.longest_path) == (whole.total.dsp, whole.longest_path)
    for name in ("lut", "ff"):
        assert getattr(apart.total, name) == pytest.approx(getattr(whole.total, name), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["xc7z020", "lfe5u-85f", "lifcl-40"])
def test_other_families(device: str) -> None:
    """18-bit multipliers: one for each token."""
    report = run(to_verilog(ComputeArray(t=2, c=2, k=2, packed=False), "array"), "array", device)
    assert report.total.dsp == 8 and report.latches == 0
    assert report.total.lut > 100 and report.total.ff > 300
