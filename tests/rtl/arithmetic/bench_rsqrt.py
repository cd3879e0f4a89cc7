"""cocotb bench of Rsqrt against the integers of docs/numerics.md, and against the true root."""

import math

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hwgen.machine.tables import RSQRT
from hwgen.rtl.arithmetic.rsqrt import Rsqrt
from tests.rtl.parts import RSQRTS
from tests.rtl.ports import Ports, reset

BITS = 52


def root(v):
    """y1 and lz / 2."""
    lz = BITS - v.bit_length() & ~1
    m = (v << lz) >> 34
    y0 = RSQRT[v << lz >> 46]
    return y0 * ((3 << 16) - (m * (y0 * y0 >> 16) >> 16)) >> 17, lz // 2


def values(rng):
    """The ends; around every power of two; where the table's entry changes, at every even shift; random magnitudes."""
    chosen = [1, 2, 3, (1 << BITS) - 1, (1 << BITS) - 2]
    chosen += [(1 << bit) + delta for bit in range(2, BITS) for delta in (-1, 0, 1)]
    edges = [(entry << 46) + delta for entry in range(16, 64) for delta in (-1, 0, (1 << 34) - 1)]
    chosen += [edge >> 2 * int(rng.integers(1, 20)) for edge in edges] + [edge for edge in edges if edge >= 1 << 50]
    chosen += np.exp2(rng.uniform(0, BITS, 2000)).astype(np.int64).tolist()
    return chosen


@cocotb.test()
@cocotb.parametrize(name=list(RSQRTS), stall=[0.0, 0.4])
async def roots(dut, name, stall):
    ports, rng = Ports(dut, f"rsqrt_{name}_"), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut, ports, valid=0, v=0)
    todo, due = values(rng), {}
    total, cycle, seen = len(todo), 0, 0
    while seen < total:
        valid = bool(todo) and rng.random() >= stall
        v = todo.pop() if valid else int(rng.integers(1 << BITS))
        if valid:
            due[cycle + Rsqrt.LATENCY] = v
        ports.set(valid=int(valid), v=v)
        await RisingEdge(dut.clk)  # samples the values before the edge
        assert ports.get("out_valid") == (cycle in due)
        if cycle in due:
            v = due.pop(cycle)
            y1, half_lz = ports.get("y1"), ports.get("half_lz")
            assert (y1, half_lz) == root(v), v
            exact = 2**16 / math.sqrt((v << 2 * half_lz) / 2**50)
            assert abs(y1 / exact - 1) < 2**-10 and y1 <= Rsqrt.Y1_MAX, v
            seen += 1
        cycle += 1
