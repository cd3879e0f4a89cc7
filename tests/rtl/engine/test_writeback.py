import gc

import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.postprocess import PostProcess
from hwgen.rtl.engine.writeback import WriteBack
from hwgen.rtl.units.mover import Mover
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: K < C, K > C, K = 1 (one bank of V); the latency of the post-processing from the smallest allowed on.
SHAPES = {
    "wide": {"p": {"t": 4, "c": 8, "k": 2, "max_tokens": 21}, "post": 6, "notice": 8},
    "deep": {"p": {"t": 2, "c": 4, "k": 16, "max_tokens": 40}, "post": 15, "notice": Mover.WRITE_LATENCY},
    "one": {"p": {"t": 8, "c": 2, "k": 1, "max_tokens": 16, "gated_mlp": True}, "post": 9, "notice": 1, "gate": 5},
    "gated": {"p": {"t": 4, "c": 2, "k": 4, "gated_mlp": True}, "post": 15, "notice": 4, "gate": PostProcess.UP},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_writeback(shape):
    parts = {name: WriteBack(HwParams(**s["p"]), latency=s["post"], h_notice=s["notice"], gate=s.get("gate", 0))
             for name, s in SHAPES.items()}
    parameters = {"part": shape, "latency": WriteBack.LATENCY, "x_latency": WriteBack.X_READ_LATENCY}
    run_unit(Bundle(**parts), bench="tests.rtl.engine.bench_writeback", parameters=parameters | SHAPES[shape])


@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_writeback_latency():
    with pytest.raises(ValueError, match="at least 6, not 5"):
        WriteBack(HwParams(), latency=5, h_notice=4)
    with pytest.raises(ValueError, match="comes 5 cycles behind it at least, not 4"):
        WriteBack(HwParams(gated_mlp=True), latency=15, h_notice=4, gate=4)
    gc.collect()  # Amaranth warns about the component that was not built: here, not in a later test
