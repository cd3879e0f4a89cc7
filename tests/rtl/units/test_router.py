import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.units.router import Router
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("c", "max_experts", "max_topk", "max_tokens"), [(4, 10, 3, 24), (16, 6, 6, 19), (2, 40, 16, 16), (2, 2, 1, 2)]
)
def test_router(c, max_experts, max_topk, max_tokens):
    component = Router(HwParams(c=c, max_experts=max_experts, max_topk=max_topk, max_tokens=max_tokens))
    parameters = {
        "c": c,
        "max_experts": max_experts,
        "max_topk": max_topk,
        "max_tokens": max_tokens,
        "commands": 24,
    }
    run_unit(component, bench="tests.rtl.units.bench_router", parameters=parameters)
