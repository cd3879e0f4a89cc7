import pytest

from hwgen.rtl.engine.postprocess import PostProcess
from sim.unit import run_unit


@pytest.mark.parametrize("c, gated", [(2, False), (8, False), (4, True)])
def test_postprocess(c, gated):
    component = PostProcess(c=c, gated=gated)
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
                "gated": gated,
                "up": PostProcess.UP,
            },
            seed=seed + 1,
        )
