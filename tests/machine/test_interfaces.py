"""Which AXI masters there are, and in which order."""

import pytest

from hwgen.machine.interfaces import Master, masters, weight_numbers
from hwgen.machine.params import HwParams


@pytest.mark.parametrize("ports, numbers", [(1, (0,)), (2, (0, 2)), (4, (0, 2, 3, 4))])
def test_masters(ports, numbers):
    p = HwParams(weight_bus=256, weight_ports=ports, data_bus=128)
    assert weight_numbers(p) == numbers
    found = masters(p)
    assert [master.name for master in found] == [f"m_axi_gmem{n}" for n in sorted({1, *numbers})]
    assert found[1] == Master("m_axi_gmem1", 128, True, True, "program, tables, images, outputs")
    weights = [master for master in found if master.name != "m_axi_gmem1"]
    assert all((master.data_bits, master.reads, master.writes) == (256 // ports, True, False) for master in weights)
    assert len({master.what for master in found}) == len(found)
