from sim.unit import run_unit
from tests.rtl.parts import parts


def test_gearbox():
    run_unit(parts(), bench="tests.rtl.common.bench_gearbox")
