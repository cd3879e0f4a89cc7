import pytest

from hwgen.machine.params import HwParams
from hwgen.rtl.memory.fetch import InstructionFetch
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: Many beats of an instruction; one beat and the smallest queues (instructions may arrive in consecutive cycles);
#: weights from one and from four ports.
SHAPES = {
    "narrow": {"data_bus": 64, "instruction_queue": 5, "max_experts": 6},
    "wide": {"data_bus": 512, "instruction_queue": 2, "max_experts": 4},
    "striped": {"data_bus": 256, "instruction_queue": 4, "max_experts": 3, "weight_bus": 256, "weight_ports": 4},
    "single": {"data_bus": 128, "instruction_queue": 1, "max_experts": 2},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_fetch(shape):
    component = Bundle(**{name: InstructionFetch(HwParams(**s)) for name, s in SHAPES.items()})
    run_unit(component, bench="tests.rtl.memory.bench_fetch", parameters={"part": shape, "p": SHAPES[shape]})
