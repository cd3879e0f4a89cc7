from sim.unit import run_unit
from tests.rtl.parts import parts


def test_widen():
    run_unit(parts(), bench="tests.rtl.memory.bench_widen")
