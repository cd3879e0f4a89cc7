import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.control.registers import Control
from sim.unit import run_unit

HASH = 0xFEDCBA9876543210


def test_control():
    """With two weight ports: some registers of ports are there, others are not."""
    p = HwParams(t=4, c=64, k=32, weight_bus=512, weight_ports=2, data_bus=64)
    bench, parameters = "tests.rtl.control.bench_registers", {"hash": HASH, "p": p.as_dict()}
    run_unit(Control(p, build_hash=HASH), bench=bench, parameters=parameters)


def test_hash_text():
    with pytest.raises(ValueError, match="build_hash must fit in 64 bits, not -1"):
        Control(HwParams(), build_hash=-1)
