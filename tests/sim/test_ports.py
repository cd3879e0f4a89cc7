"""Weight ports found in Verilog, and their shares of the weights."""

import pytest

from hwgen.compiler.packing import port_images
from hwgen.machine.interfaces import masters
from hwgen.machine.params import HwParams
from sim.ports import PORTS, WEIGHTS, WRITES, weight_ports, weight_shares


@pytest.mark.parametrize("ports, bits", [(1, 64), (2, 32), (4, 128)])
def test_ports_of_verilog(ports, bits):
    """The names and widths of `masters`, as Verilog declares them."""
    p = HwParams(weight_bus=ports * bits, weight_ports=ports)
    text = "".join(f"  input [{m.data_bits - 1}:0] {m.name}_RDATA;\n" for m in masters(p))
    assert weight_ports(text) == (bits // 8,) * ports
    reading = {PORTS[number][0] for number in WEIGHTS[:ports]}
    assert reading | {PORTS[WRITES][0]} == {master.name for master in masters(p)}


def test_shares():
    weights = bytes(range(64))
    assert weight_shares(weights, (8,)) == (weights,)
    first, second = weight_shares(weights, (4, 4))
    assert first == b"".join(weights[at : at + 4] for at in range(0, 64, 8))
    assert second == b"".join(weights[at : at + 4] for at in range(4, 64, 8))
    assert port_images(b"", 4, 8) == (b"",) * 4
