import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.units.image import ImageLoader
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("t", "c", "k", "data_bus"),
    [(8, 4, 16, 64), (2, 16, 4, 64), (4, 4, 1, 128)],
    ids=["k-wider", "word-wider-than-beat", "beat-wider-than-word"],
)
def test_image(t, c, k, data_bus):
    p = HwParams(t=t, c=c, k=k, data_bus=data_bus, y_depth=8192)
    run_unit(ImageLoader(p), bench="tests.rtl.units.bench_image", parameters={**p.as_dict(), "commands": 40})
