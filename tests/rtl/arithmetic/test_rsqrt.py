from sim.unit import run_unit
from tests.rtl.parts import parts


def test_rsqrt():
    run_unit(parts(), bench="tests.rtl.arithmetic.bench_rsqrt")
