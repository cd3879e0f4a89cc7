"""`bench.paths` on a netlist small enough to add up by hand."""

import math
from typing import Any

import pytest

from bench.paths import clusters

#: Two routes of fan-out 1 and 2, a LUT, a register.
EXPECTED = 0.5 + 0.9 + 0.24 + (0.9 + 0.45)


def cell(kind: str, output: str, **nets: int) -> dict[str, Any]:
    ports = {port: "output" if port == output else "input" for port in nets}
    return {"type": kind, "port_directions": ports, "connections": {port: [bit] for port, bit in nets.items()}}


def module(**more: dict[str, Any]) -> dict[str, Any]:
    """Register `from` → LUT → both bits of register `to`."""
    return {"cells": {
        "from_TRELLIS_FF_Q": cell("TRELLIS_FF", "Q", CLK=2, DI=9, Q=10),
        "lut": cell("LUT4", "Z", A=10, Z=11),
        "to_TRELLIS_FF_Q_1": cell("TRELLIS_FF", "Q", CLK=2, DI=11, Q=12),
        "to_TRELLIS_FF_Q": cell("TRELLIS_FF", "Q", CLK=2, CE=11, DI=9, Q=13),
    } | more}  # fmt: skip


def test_a_cluster():
    worst = clusters(module())[0]
    assert (worst.start, worst.end, worst.count) == ("from", "to", 2)
    assert worst.ns == pytest.approx(EXPECTED)


def test_a_carry_needs_no_route():
    chain = {
        "add0": cell("CCU2C", "COUT", A0=11, COUT=20),
        "add1": cell("CCU2C", "S0", CIN=20, S0=21),
        "sum_TRELLIS_FF_Q": cell("TRELLIS_FF", "Q", CLK=2, DI=21, Q=22),
    }
    worst = clusters(module(**chain))[0]
    # The LUT's output now has three readers.
    assert worst.end == "sum"
    assert worst.ns == pytest.approx(0.5 + 0.9 + 0.24 + 0.9 + 0.45 * math.log2(3) + 0.45 + 0.06 + 0.9)


def test_a_multiplier_with_registers_ends_paths():
    packed = cell("MULT18X18D", "P0", CLK0=2, A0=11, P0=30) | {"parameters": {"REG_INPUTA_CLK": "CLK0"}}
    bare = cell("MULT18X18D", "P0", A0=11, P0=30)
    reader = cell("TRELLIS_FF", "Q", CLK=2, DI=30, Q=31)
    ends = {cluster.end: cluster.ns for cluster in clusters(module(m=packed, read_TRELLIS_FF_Q=reader))}
    assert "m" in ends
    assert ends["read"] < 3
    slow = {cluster.end: cluster.ns for cluster in clusters(module(m=bare, read_TRELLIS_FF_Q=reader))}
    assert "m" not in slow
    assert slow["read"] > ends["read"] + 3.9
