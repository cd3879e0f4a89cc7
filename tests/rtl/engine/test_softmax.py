import pytest

from hwgen.rtl.engine.softmax import Softmax
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("t", "c", "k", "keys"), [(2, 4, 1, 13), (4, 8, 16, 40), (8, 2, 8, 24), (4, 32, 2, 257), (2, 2, 2, 2)]
)
def test_softmax(t, c, k, keys):
    component = Softmax(t=t, c=c, k=k, keys=keys)
    parameters = {
        "t": t,
        "c": c,
        "k": k,
        "keys": keys,
        "tiles": 12,
        "write_latency": Softmax.WRITE_LATENCY,
        "latency": Softmax.LATENCY,
        "factor_latency": Softmax.FACTOR_LATENCY,
    }
    run_unit(component, bench="tests.rtl.engine.bench_softmax", parameters=parameters)
