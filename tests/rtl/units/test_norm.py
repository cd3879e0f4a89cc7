import numpy as np
import pytest

from hwgen.machine.params import HwParams
from hwgen.machine.tables import RSQRT
from hwgen.rtl.arithmetic.rsqrt import Rsqrt
from hwgen.rtl.units.norm import Norm
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("t", "c", "k", "norm_depth", "commands", "rms"),
    [(2, 8, 1, 5, 40, False), (8, 4, 16, 12, 40, False), (4, 16, 8, 128, 16, False), (4, 8, 4, 6, 60, True),
     (4, 16, 8, 128, 16, True)],
    ids=["k1", "k-wider", "dim-2047", "rms", "rms-dim-2047"],
)  # fmt: skip
def test_norm(t, c, k, norm_depth, commands, rms):
    p = HwParams(t=t, c=c, k=k, norm_depth=norm_depth, x_depth=1500, y_depth=4096, max_tokens=64, rms_norm=rms)
    component = Norm(p)
    overhead = component.statistics_latency + 20
    run_unit(
        component,
        bench="tests.rtl.units.bench_norm",
        parameters={**p.as_dict(), "commands": commands, "overhead": overhead, "norm_words": component.norm_words},
    )


def test_root_fits_in_16_bits():
    m = np.arange(1 << 16, 1 << 18)
    y0 = np.array(RSQRT)[m >> 12]
    bracket = (3 << 16) - (m * (y0 * y0 >> 16) >> 16)
    assert bracket.min() >= 0 and bracket.max() < 1 << 18
    assert (y0 * bracket >> 17).max() == Rsqrt.Y1_MAX
