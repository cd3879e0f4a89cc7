"""What Yosys 0.70 gets wrong, in a few lines each, and that what is emitted avoids it. docs/verilog.md says more."""

import pytest
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.params import HwParams
from hwgen.rtl.emit import to_verilog
from hwgen.rtl.memory.axi import AxiReader, AxiWriter
from hwgen.rtl.units.norm import Norm
from tests.rtl import yosys

#: The other name of a register of which two bits never change.
ALIAS = """
module top(input clk, input en, input [1:0] d, output [3:0] out);
    reg [3:0] length = 4'h0;
    {attribute} wire [3:0] data;
    assign data = length;
    assign out = length;
    always @(posedge clk) if (en) length <= {{2'b00, d}};
endmodule
"""
#: Up to where multipliers have become DSP slices.
MULTIPLIERS = "synth_xilinx -family xc7 -top {top} -noiopad -run begin:map_memory"


def without_operands(verilog: str, top: str, directory) -> list[str]:
    """DSP slices with an operand that nothing drives."""
    module = yosys.run(verilog, MULTIPLIERS.format(top=top), top, directory)
    driven = {bit for port in module["ports"].values() if port["direction"] == "input" for bit in port["bits"]}
    for cell in module["cells"].values():
        outputs = (port for port, way in cell["port_directions"].items() if way == "output")
        driven.update(bit for port in outputs for bit in cell["connections"][port])
    slices = {name: cell["connections"] for name, cell in module["cells"].items() if cell["type"] == "DSP48E1"}
    assert slices
    return [name for name, pins in slices.items() if set(pins["A"] + pins["B"]) - driven - {"0", "1", "x"}]


class Squared(wiring.Component):
    """The square of a sum."""

    en: In(1)
    first: In(1)
    x: In(signed(16))
    out: Out(signed(36))

    def __init__(self, **attributes):
        self.attributes = attributes
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        total = Signal(signed(18), reset_less=True, attrs=self.attributes)
        with m.If(self.en):
            m.d.sync += total.eq(Mux(self.first, 0, total) + self.x)
        m.d.sync += self.out.eq(total * total)
        return m


def test_an_initial_value_of_a_wire(tmp_path):
    """As Amaranth's Yosys writes one for each other name of a register, and `component_verilog` leaves out."""
    wrong = yosys.failure(ALIAS.format(attribute="(* init = 4'h0 *)"), "proc; opt", tmp_path)
    assert wrong is not None and "Conflicting init values" in wrong
    assert yosys.failure(ALIAS.format(attribute=""), "proc; opt", tmp_path) is None


@pytest.mark.parametrize("kind", [AxiReader, AxiWriter])
def test_the_optimizer_comes_to_its_end(kind, tmp_path):
    assert yosys.failure(to_verilog(kind(data_bits=64), "axi"), "hierarchy -top axi; proc; opt", tmp_path) is None


@pytest.mark.parametrize(("attributes", "lost"), [({}, 1), ({"keep": 1}, 0)], ids=["plain", "keep"])
def test_a_sum_that_is_squared(attributes, lost, tmp_path):
    """Its register is moved into a DSP48E1, and the adder that it loads from is lost, without a word; not if it is to
    be kept. Once Yosys can do it, `keep` in hwgen/rtl/units/norm.py may go."""
    assert len(without_operands(to_verilog(Squared(**attributes), "squared"), "squared", tmp_path)) == lost


@pytest.mark.parametrize(("bits", "depth"), [(18, 1), (18, 32), (27, 2)])
def test_no_multiplier_is_lost(bits, depth, tmp_path):
    p = HwParams(t=2, c=2, k=2, weight_bus=64, data_bus=64, multiplier_bits=bits, norm_depth=depth)
    assert without_operands(to_verilog(Norm(p), "norm"), "norm", tmp_path) == []
