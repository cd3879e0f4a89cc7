from hwgen.machine.params import HwParams
from hwgen.rtl.units.load import Load
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: C-words narrower than, as wide as and wider than a beat.
SHAPES = {
    "down": HwParams(c=4, data_bus=512, x_depth=50),
    "same": HwParams(c=8, data_bus=128, x_depth=64),
    "up": HwParams(c=16, data_bus=64, x_depth=2048),
}


def test_load():
    shapes = {n: {"word": 2 * p.c, "beat": p.data_bus // 8, "depth": p.x_depth} for n, p in SHAPES.items()}
    parts = {name: Load(p) for name, p in SHAPES.items()}
    run_unit(Bundle(**parts), bench="tests.rtl.units.bench_load", parameters={"shapes": shapes})
