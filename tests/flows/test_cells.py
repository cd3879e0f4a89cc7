"""What cells take of a device."""

from __future__ import annotations

import pytest

from hwgen.flows.cells import latches, logic, luts, usage
from hwgen.machine.devices import Usage


def test_cells_of_each_family() -> None:
    amd = {"LUT6": 3, "RAM32M16": 2, "SRL16E": 1, "FDRE": 5, "CARRY4": 9, "DSP48E2": 2, "RAMB18E2": 1, "URAM288": 4}
    assert usage(amd) == Usage(dsp=2, lut=3 + 16 + 1, ff=5, bram36=0.5, uram=4)
    ecp5 = {"LUT4": 2, "CCU2C": 3, "TRELLIS_FF": 7, "DP16KD": 3, "MULT18X18D": 1, "TRELLIS_DPR16X4": 1, "PFUMX": 5}
    assert usage(ecp5) == Usage(dsp=1, lut=2 + 6 + 6, ff=7, bram36=1.5)
    assert usage({"MULT9X9": 1, "MULT36X36": 1, "WIDEFN9": 2, "FD1P3IX": 1}) == Usage(dsp=4.5, lut=4, ff=1)


@pytest.mark.parametrize("name", ["RAM256X8", "URAM576", "MULT27X27", "LUT8", "TRELLIS_RAM"])
def test_a_cell_that_nobody_counts_is_no_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        usage({name: 1})


def test_logic() -> None:
    assert [luts(name) for name in ("LUT1", "LUT6", "WIDEFN9", "CARRY8", "FDRE")] == [1, 1, 1, 0, 0]
    assert [logic(name) for name in ("LUT4", "CARRY4", "CCU2C", "INV", "MUXF7", "FDRE", "DSP48E2", "RAM32M16")] == (
        [True] * 5 + [False] * 3
    )
    assert latches({"LDCE": 2, "FDCE": 1, "$_DLATCH_P_": 1}) == 3
