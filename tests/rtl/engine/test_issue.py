import gc

import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.issue import Issuer
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: W > K (parts of a word) with four parameter words, and W > C with one; `weight_depth` is a few tiles.
SHAPES = {
    "wide": {
        "p": {"t": 4, "c": 8, "k": 2, "max_tokens": 20, "weight_depth": 24},
        "timing": {"lead": 5, "score_settle": 29, "settle": 35},
    },
    "deep": {
        "p": {"t": 2, "c": 4, "k": 16, "max_tokens": 40, "weight_depth": 8},
        "timing": {"lead": 3, "score_settle": 23, "settle": 20},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_issuer(shape):
    component = Bundle(**{name: Issuer(HwParams(**s["p"]), **s["timing"]) for name, s in SHAPES.items()})
    run_unit(component, bench="tests.rtl.engine.bench_issue", parameters={"part": shape} | SHAPES[shape])


@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_settle():
    with pytest.raises(ValueError, match="settle must be below 255, the `slack` of independent instructions, not 255"):
        Issuer(HwParams(), lead=5, score_settle=29, settle=255)
    gc.collect()  # Amaranth warns about the component that was not built: here, not in a later test
