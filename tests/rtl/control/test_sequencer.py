import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.control.sequencer import Sequencer
from sim.unit import run_unit

SHAPE = {
    "t": 4, "c": 8, "k": 2, "weight_ports": 2, "max_tokens": 21, "weight_depth": 64, "norm_depth": 3, "max_experts": 6,
    "max_topk": 3,
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_sequencer(seed):
    component = Sequencer(HwParams(**SHAPE))
    run_unit(component, bench="tests.rtl.control.bench_sequencer", parameters={"p": SHAPE}, seed=seed)
