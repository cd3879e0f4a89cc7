import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.units.mover import Mover
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("t", "c", "k", "max_tokens"), [(8, 4, 16, 60), (2, 16, 4, 70), (4, 8, 8, 16)], ids=["k-wider", "c-wider", "square"]
)
def test_mover(t, c, k, max_tokens):
    p = HwParams(t=t, c=c, k=k, y_depth=1000, h_depth=1000, max_tokens=max_tokens, max_experts=5)
    parameters = {**p.as_dict(), "commands": 60, "write_latency": Mover.WRITE_LATENCY}
    run_unit(Mover(p), bench="tests.rtl.units.bench_mover", parameters=parameters)
