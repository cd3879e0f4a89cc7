import pytest

from hwgen.rtl.common.rowbuffer import RowBuffer
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("banks", "lanes", "k", "elem"), [(8, 16, 8, 8), (4, 4, 8, 8), (2, 8, 1, 16), (8, 8, 8, 9), (4, 4, 8, 9)]
)
def test_rowbuffer(banks, lanes, k, elem):
    depth = 6
    component = RowBuffer(banks=banks, lanes=lanes, k=k, depth=depth, elem=elem)
    run_unit(
        component,
        bench="tests.rtl.common.bench_rowbuffer",
        parameters={"banks": banks, "lanes": lanes, "k": k, "depth": depth, "elem": elem},
    )
