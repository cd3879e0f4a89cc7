import pytest

from hwgen.rtl.engine.postprocess import PostProcess
from sim.unit import run_unit


@pytest.mark.parametrize("c", [2, 8])
def test_postprocess(c):
    component = PostProcess(c=c)
    for seed, bubble_rate in enumerate((0.0, 0.4)):
        run_unit(
            component,
            bench="tests.rtl.engine.bench_postprocess",
            parameters={
                "c": c,
                "latency": PostProcess.LATENCY,
                "beats": 1600 // c,
                "bubble_rate": bubble_rate,
                "codes": seed == 0,
            },
            seed=seed + 1,
        )
