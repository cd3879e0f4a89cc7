"""The ports and interfaces are those of the Verilog that is emitted."""

import re
from dataclasses import replace

import pytest

from hwgen.flows.design import DEBUG, Port, ports_of
from hwgen.machine.emission import TOP
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import ADDRESS_BITS
from tests.flows.helpers import hollow_design


def test_all_ports_are_found(design, emitted):
    header = re.search(rf"^module {TOP}\((.*?)\);", emitted, re.MULTILINE | re.DOTALL)[1]
    assert [port.name for port in design.ports] == sorted(name.strip() for name in header.split(","))
    bits = {port.name: (port.output, port.bits) for port in design.ports}
    assert bits["m_axi_gmem1_WSTRB"] == (True, design.params.data_bus // 8)
    assert bits["s_axi_control_WDATA"] == (False, 32)


def test_ports_of_text():
    text = """
module other(input x); endmodule
(* top *)
  module top(a, b, c);
  (* X_INTERFACE_INFO = "x; y" *) input [3:0] a;
  output wire b;
  wire [3:0] a;
  output [0:0] c ;
endmodule
module after(d); input d; endmodule
"""
    assert ports_of(text, "top") == (Port("a", False, 4), Port("b", True, 1), Port("c", True, 1))
    with pytest.raises(ValueError, match="no module tops"):
        ports_of(text, "tops")


def test_every_port_is_in_one_interface(design):
    taken = [port for interface in design.interfaces for port in interface.maps.values()]
    assert len(taken) == len(set(taken))
    left = {port.name for port in design.ports} - set(taken)
    assert left and all(name.startswith(DEBUG) for name in left)
    facts = {interface.name: interface for interface in design.interfaces}
    assert facts["ap_clk"].parameters == {
        "ASSOCIATED_BUSIF": "m_axi_gmem0:m_axi_gmem1:s_axi_control", "ASSOCIATED_RESET": "ap_rst_n",
    }  # fmt: skip
    assert facts["m_axi_gmem0"].parameters["READ_WRITE_MODE"] == "READ_ONLY"
    assert "WDATA" in facts["m_axi_gmem1"].maps and "WDATA" not in facts["m_axi_gmem0"].maps
    assert facts["m_axi_gmem1"].parameters["DATA_WIDTH"] == design.params.data_bus
    assert facts["s_axi_control"].parameters["ADDR_WIDTH"] == ADDRESS_BITS


@pytest.mark.parametrize("bits, longest, burst", [(128, 64, 64), (512, 256, 64), (64, 16, 16)])
def test_bursts_stay_in_a_page(bits, longest, burst):
    wide = hollow_design(HwParams(data_bus=bits, max_burst=longest))
    bus = next(one for one in wide.interfaces if one.name == "m_axi_gmem1")
    assert bus.parameters["DATA_WIDTH"] == bits
    assert bus.parameters["MAX_BURST_LENGTH"] == burst <= 4096 * 8 // bits


def test_a_port_that_fits_nowhere(design):
    more = replace(design, ports=(*design.ports, Port("test_mode", False, 1)))
    with pytest.raises(ValueError, match=r"ports in no interface: \['test_mode'\]; missing: \[\]"):
        _ = more.interfaces
    less = replace(design, ports=tuple(port for port in design.ports if port.name != "interrupt"))
    with pytest.raises(ValueError, match=r"ports in no interface: \[\]; missing: \['interrupt'\]"):
        _ = less.interfaces


def test_several_weight_ports():
    several = hollow_design(HwParams(weight_bus=512, weight_ports=4))
    assert [interface.name for interface in several.interfaces][:5] == [f"m_axi_gmem{number}" for number in range(5)]
    assert {interface.parameters["DATA_WIDTH"] for interface in several.interfaces[:5]} == {128}


def test_without_debug_ports(design):
    """And the hollow Verilog of other tests has the ports of the real one."""
    bare = hollow_design(design.params)
    assert bare.interfaces == design.interfaces
    assert bare.ports == tuple(port for port in design.ports if not port.name.startswith(DEBUG)) != design.ports
