"""The flow `nextpnr-nexus` on a tiny design."""

from __future__ import annotations

import pytest

from hwgen.flows.flow import Job
from hwgen.flows.nextpnr_nexus import BITSTREAM, total
from hwgen.flows.registry import find_flow
from hwgen.machine.devices import Usage, find_device
from tests.flows.test_nextpnr_ecp5 import COUNTERS


def test_total() -> None:
    used = {"OXIDE_COMB": 10, "OXIDE_FF": 20, "MULT18_CORE": 3, "OXIDE_EBR": 5}
    assert total(used) == Usage(dsp=3, lut=10, ff=20, bram36=2.5)


@pytest.mark.slow
def test_placed_and_routed() -> None:
    report = find_flow("nextpnr-nexus").run(Job(COUNTERS, "counters", find_device("lifcl-40")))
    assert report.fmax[1] > 50 and report.total.dsp == 1
    assert report.files[BITSTREAM].stat().st_size > 10_000
