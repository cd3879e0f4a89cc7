"""The flow `nextpnr-nexus` on a tiny design."""

from __future__ import annotations

import pytest

from hwgen.flows.flow import Job
from hwgen.flows.nextpnr_nexus import BITSTREAM, free_carries, total
from hwgen.flows.registry import find_flow
from hwgen.machine.devices import Usage, find_device
from tests.flows.test_nextpnr_ecp5 import COUNTERS


def test_total() -> None:
    used = {"OXIDE_COMB": 10, "OXIDE_FF": 20, "MULT18_CORE": 3, "OXIDE_EBR": 5}
    assert total(used) == Usage(dsp=3, lut=10, ff=20, bram36=2.5)


def test_the_first_carry_cell_gets_no_carry() -> None:
    def carry(**nets: int) -> dict:
        sides = {port: "output" if port == "COUT" else "input" for port in nets}
        return {"type": "CCU2", "port_directions": sides, "connections": {port: [net] for port, net in nets.items()}}

    cells = {"a": carry(CIN=9, COUT=2), "b": carry(CIN=2, COUT=3), "c": carry(CIN=9, COUT=4),
             "low": {"type": "VLO", "connections": {"Z": [9]}}}  # fmt: skip
    assert free_carries({"cells": cells}) == 2
    assert "CIN" not in cells["a"]["connections"] and "CIN" not in cells["c"]["port_directions"]
    assert cells["b"]["connections"]["CIN"] == [2]


@pytest.mark.slow
def test_placed_and_routed() -> None:
    report = find_flow("nextpnr-nexus").run(Job(COUNTERS, "counters", find_device("lifcl-40")))
    assert report.fmax[1] > 50 and report.total.dsp == 1
    assert report.files[BITSTREAM].stat().st_size > 10_000
