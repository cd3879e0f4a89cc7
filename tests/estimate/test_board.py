"""Masters at a board's ports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.estimate.board import attach
from hwgen.machine.devices import boards
from hwgen.machine.params import HwParams

P = HwParams(weight_bus=256, data_bus=128)


def test_a_wide_master_gets_what_its_port_is_wide() -> None:
    on = attach(P, boards()["zcu102"])
    assert (on.weights[0].name, on.data.name, on.clock) == ("S_AXI_HP0_FPD", "S_AXI_HP1_FPD", 200e6)
    assert (on.weight_rate, on.data_rate) == (16, 16)
    assert on.memory_rate == pytest.approx(17.064e9 / 200e6)
    assert on.milliseconds(2e5) == 1.0


def test_a_fast_clock_meets_the_memory() -> None:
    assert attach(P, boards()["pynq-z2"]).weight_rate == 8
    fast = attach(P, boards()["pynq-z2"], 300e6)
    assert fast.weight_rate == fast.data_rate == pytest.approx(7.0)
    assert attach(replace(P, weight_bus=64), boards()["zcu102"]).weight_rate == 8
    assert attach(P, boards()["u280"]).weight_rate == 32


def test_too_few_ports() -> None:
    board = boards()["zcu102"]
    with pytest.raises(HwgenError, match="a board with 2 ports to its memory\n  found:    zcu102 with 1"):
        attach(P, replace(board, ports=board.ports[:1]))
