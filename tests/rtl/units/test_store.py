from hwgen.machine.params import HwParams
from hwgen.rtl.units.store import StoreUnit
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: C-words narrower than, as wide as and wider than a beat; K above, at and below C.
SHAPES = {
    "down": HwParams(t=4, c=16, k=1, data_bus=64, x_depth=600, y_depth=70),
    "same": HwParams(t=8, c=8, k=16, data_bus=128, x_depth=512, y_depth=50),
    "up": HwParams(t=2, c=4, k=16, data_bus=512, x_depth=1024, y_depth=128),
}


def test_store():
    shapes = {
        n: {"t": p.t, "c": p.c, "parts": p.word // p.c, "beat": p.data_bus // 8, "x": p.x_depth, "y": p.y_depth}
        for n, p in SHAPES.items()
    }
    parts = {name: StoreUnit(p) for name, p in SHAPES.items()}
    run_unit(Bundle(**parts), bench="tests.rtl.units.bench_store", parameters={"shapes": shapes})
