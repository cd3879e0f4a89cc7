from dataclasses import replace

from hwgen.machine.params import HwParams
from hwgen.rtl.memory.weights import WeightFetch
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: Words narrower than, as wide as and wider than a beat; depths that are and are not powers of two; one to eight
#: parameter words.
SHAPES = {
    "down": HwParams(t=4, c=4, k=1, weight_bus=512, weight_depth=40),
    "down2": HwParams(t=4, c=4, k=4, weight_bus=256, weight_depth=8),
    "same": HwParams(t=2, c=8, k=2, weight_bus=128, weight_depth=5),
    "up2": HwParams(t=2, c=4, k=8, weight_bus=128, weight_depth=21),
    "up": HwParams(t=8, c=8, k=8, weight_bus=64, weight_depth=16),
}


def test_weights():
    parts = {name: WeightFetch(replace(p, max_burst=16), outstanding=4) for name, p in SHAPES.items()}
    shapes = {
        name: {"word": p.ring_bytes, "beat": p.weight_bus // 8, "depth": p.weight_depth, "parameters": p.param_words}
        for name, p in SHAPES.items()
    }
    run_unit(Bundle(**parts), bench="tests.rtl.memory.bench_weights", parameters={"shapes": shapes})
