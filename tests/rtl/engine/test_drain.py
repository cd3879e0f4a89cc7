import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.array import ComputeArray
from hwgen.rtl.engine.drain import Drain
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: Four parameter words and a pause before the first context tile; one parameter word and none.
SHAPES = {
    "wide": {"p": {"t": 4, "c": 8, "k": 2, "max_tokens": 21}, "hold": 5},
    "deep": {"p": {"t": 2, "c": 2, "k": 16, "max_tokens": 9, "gated_mlp": True}, "hold": 2},
    "short": {"p": {"t": 2, "c": 2, "k": 1, "max_tokens": 2}, "hold": 1},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_drain(shape):
    component = Bundle(**{name: Drain(HwParams(**s["p"]), hold=s["hold"]) for name, s in SHAPES.items()})
    parameters = {"part": shape, "latency": Drain.LATENCY, "array": ComputeArray.LATENCY}
    run_unit(component, bench="tests.rtl.engine.bench_drain", parameters=parameters | SHAPES[shape])
