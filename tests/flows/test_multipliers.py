"""Multiplier registers on a netlist as Yosys writes it: which flip-flops go in, and that nothing else changes."""

from typing import Any

import pytest

from hwgen.flows.multipliers import WIDTH, pack_multipliers

CLOCK, ENABLE, CLEAR = 2, 3, 4


def flip_flop(data: int, out: int, **changes: Any) -> dict[str, Any]:
    parameters = {"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"} | changes.pop("parameters", {})
    nets = {"CLK": [CLOCK], "DI": [data], "LSR": ["0"], "Q": [out]} | changes
    ports = {port: "output" if port == "Q" else "input" for port in nets}
    return {"type": "TRELLIS_FF", "parameters": parameters, "port_directions": ports, "connections": nets}


def netlist(*, product: bool = True, **changes: Any) -> dict[str, Any]:
    """A 2-bit by 1-bit multiplication of registers 20, 21 and 22 (of 10, 11, 12), its two product bits in registers."""
    nets = {f"{side}{index}": ["0"] for side in "AB" for index in range(WIDTH)}
    nets |= {"A0": [20], "A1": [21], "B0": [22], "P0": [30], "P1": [31]}
    ports = {port: "output" if port[0] == "P" else "input" for port in nets}
    cells = {
        "a0": flip_flop(10, 20, **changes), "a1": flip_flop(11, 21), "b0": flip_flop(12, 22),
        "mult": {"type": "MULT18X18D", "parameters": {}, "port_directions": ports, "connections": nets},
    }  # fmt: skip
    if product:
        cells |= {"p0": flip_flop(30, 40), "p1": flip_flop(31, 41)}
    out = [40, 41] if product else [30, 31]
    ports = {"in": {"direction": "input", "bits": [10, 11, 12]}, "out": {"direction": "output", "bits": out}}
    return {"modules": {"top": {"ports": ports, "cells": cells}}}


def packed(design: dict[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    return pack_multipliers(design, "top"), design["modules"]["top"]["cells"]


def test_all_three_registers():
    done, cells = packed(netlist())
    assert done == {"operands": 2, "products": 1}
    assert set(cells) == {"mult"}
    nets = cells["mult"]["connections"]
    assert [nets[port] for port in ("A0", "A1", "B0", "P0", "P1")] == [[10], [11], [12], [40], [41]]
    assert [nets[port] for port in ("CLK0", "CE0", "RST0")] == [[CLOCK], ["1"], ["0"]]
    for register in ("INPUTA", "INPUTB", "OUTPUT"):
        assert cells["mult"]["parameters"][f"REG_{register}_CLK"] == "CLK0"


def test_a_product_read_by_logic_stays_outside():
    done, cells = packed(netlist(product=False))
    assert done == {"operands": 2, "products": 0}
    assert "REG_OUTPUT_CLK" not in cells["mult"]["parameters"]
    assert cells["mult"]["connections"]["P0"] == [30]


def test_a_register_that_others_read_stays_too():
    design = netlist()
    design["modules"]["top"]["ports"]["out"]["bits"].append(20)
    _, cells = packed(design)
    assert set(cells) == {"mult", "a0"}
    assert cells["mult"]["connections"]["A0"] == [10]


def test_a_cleared_register_brings_its_clear_along():
    _, cells = packed(netlist(LSR=[CLEAR], parameters={"SRMODE": "LSR_OVER_CE"}))
    assert set(cells) == {"mult", "a0_cleared"}
    lut = cells["a0_cleared"]
    assert [lut["connections"][port] for port in "AB"] == [[10], [CLEAR]]
    assert cells["mult"]["connections"]["A0"] == lut["connections"]["Z"]
    truth = int(lut["parameters"]["INIT"], 2)
    assert [truth >> a + 2 * clear & 1 for clear in (0, 1) for a in (0, 1)] == [0, 1, 0, 0]


@pytest.mark.parametrize("changes", [
    {"CE": [ENABLE], "parameters": {"CEMUX": "CE"}},
    {"LSR": [CLEAR], "parameters": {"SRMODE": "LSR_OVER_CE", "REGSET": "SET"}},
    {"LSR": [CLEAR]},
    {"CLK": [5]},
], ids=["enable", "set", "asynchronous", "other clock"])  # fmt: skip
def test_other_registers_stay_outside(changes):
    design = netlist(**changes)
    before = set(design["modules"]["top"]["cells"])
    done, cells = packed(design)
    assert done == {"operands": 0, "products": 0}
    assert set(cells) == before
    assert cells["mult"]["parameters"] == {}
