import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.control.check import OperandCheck
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: Small odd limits, and the largest ones; a ring word below a weight beat and above it; one, two and four weight ports.
SHAPES = {
    "small": {
        "t": 4, "c": 8, "k": 2, "max_tokens": 21, "weight_depth": 16, "norm_depth": 3, "max_experts": 6, "max_topk": 3,
        "x_depth": 100, "weight_ports": 2, "gated_mlp": True, "rms_norm": True,
    },
    "tiny": {
        "t": 2, "c": 2, "k": 1, "max_tokens": 9, "weight_depth": 50, "max_experts": 3, "max_topk": 2, "x_depth": 40,
        "weight_ports": 4,
    },
    "large": {
        "t": 64, "c": 64, "k": 32, "max_tokens": 1 << 12, "weight_depth": 65_000, "norm_depth": 1 << 12,
        "max_experts": 256, "max_topk": 16, "x_depth": 1 << 16,
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_check(shape):
    component = Bundle(**{name: OperandCheck(HwParams(**s)) for name, s in SHAPES.items()})
    parameters = {"part": shape, "p": SHAPES[shape], "latency": OperandCheck.LATENCY}
    run_unit(component, bench="tests.rtl.control.bench_check", parameters=parameters)
