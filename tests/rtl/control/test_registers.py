import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.control.registers import Control
from sim.unit import run_unit

HASH = 0xFEDCBA9876543210


def test_control():
    p = HwParams(t=4, c=64, k=32, weight_bus=512, data_bus=64)
    run_unit(
        Control(p, build_hash=HASH),
        bench="tests.rtl.control.bench_registers",
        parameters={"hash": HASH, "shape": [p.t, p.c, p.k], "buses": [p.weight_bus, p.data_bus]},
    )


def test_hash_text():
    with pytest.raises(ValueError, match="build_hash must fit in 64 bits, not -1"):
        Control(HwParams(), build_hash=-1)
