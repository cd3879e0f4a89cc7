import gc

import pytest

from hwgen.rtl.engine.array import ComputeArray
from sim.unit import run_unit


@pytest.mark.parametrize(("t", "c", "k", "packed"), [
    (4, 2, 1, True), (2, 8, 2, True), (8, 4, 16, True), (2, 2, 32, True), (4, 4, 8, False), (2, 2, 2, False),
])  # fmt: skip
def test_array(t, c, k, packed):
    component = ComputeArray(t=t, c=c, k=k, packed=packed)
    for seed, (bubble_rate, shift_rate) in enumerate(((0.0, 1.0), (0.3, 0.6))):
        run_unit(
            component,
            bench="tests.rtl.engine.bench_array",
            parameters={
                "t": t,
                "c": c,
                "k": k,
                "latency": ComputeArray.LATENCY,
                "tiles": 80,
                "bubble_rate": bubble_rate,
                "shift_rate": shift_rate,
            },
            seed=seed + 1,
        )


@pytest.mark.parametrize(("shape", "message"), [
    ((1, 2, 4), "t must be a power of two of at least 2, not 1"),
    ((2, 3, 4), "c must be a power of two of at least 1, not 3"),
    ((2, 2, 6), "k must be a power of two of at least 1, not 6"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_array_shape(shape, message):
    t, c, k = shape
    with pytest.raises(ValueError, match=f"^{message}$"):
        ComputeArray(t=t, c=c, k=k)
    gc.collect()  # Amaranth warns about the component that was not built: here, not in a later test
