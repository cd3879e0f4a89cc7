"""cocotb bench of ComputeArray: random tiles with bubbles and extreme operands against NumPy dot products."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from tests.rtl.ports import pack

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
WEIGHTS = {"random": None, "low": -128, "high": 127}
ROWS = {"random": None, "low": -255, "high": 255, "int8": -128}


def unpack(value, count):
    words = [value >> (32 * i) & 0xFFFFFFFF for i in range(count)]
    return [word - (word >> 31 << 32) for word in words]


async def start(dut):
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for name in ("valid", "first", "last", "shift"):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0


def operands(rng, rows, columns, k):
    """One step: every row and every column is random or stuck at an extreme value."""
    a = rng.integers(-255, 256, (rows, k))
    b = rng.integers(-128, 128, (columns, k))
    for matrix, choices in ((a, ROWS), (b, WEIGHTS)):
        for index in range(len(matrix)):
            value = choices[str(rng.choice(list(choices)))]
            if value is not None:
                matrix[index] = value
    return a, b


@cocotb.test()
async def tiles(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    t, c, k, latency = (P[n] for n in ("t", "c", "k", "latency"))
    await start(dut)
    expected = {}  # cycle of the capture -> sums
    cycle = 0
    watched = 0
    rows, shifted = [], False

    async def tick(step=None):
        """One cycle: drive the step or a bubble with random data; check what the array shows meanwhile."""
        nonlocal cycle, watched, rows, shifted
        first, last, a, b = step or (rng.integers(2), rng.integers(2), *operands(rng, t, c, k))
        dut.valid.value = step is not None
        dut.first.value, dut.last.value = int(first), int(last)
        dut.a.value, dut.b.value = pack(a.flat, 9), pack(b.flat, 8)
        shift = bool(rng.random() < P["shift_rate"])
        dut.shift.value = shift
        await RisingEdge(dut.clk)  # samples the values before the edge
        assert int(dut.capturing.value) == (cycle + 1 in expected), f"cycle {cycle}"
        if cycle in expected:
            rows = expected.pop(cycle).tolist()
            watched += 1
        if rows:
            assert unpack(dut.row.value.to_unsigned(), c) == rows[0], f"cycle {cycle}"
            if shifted:
                rows = rows[1:]
        shifted = shift
        cycle += 1

    last_at = -t
    for _ in range(P["tiles"]):
        steps = int(rng.integers(1, 7))
        sums = np.zeros((t, c), dtype=np.int64)
        extreme = rng.random() < 0.2
        for step in range(steps):
            last = step == steps - 1
            while rng.random() < P["bubble_rate"] or (last and cycle - last_at < t):
                await tick()
            a, b = operands(rng, t, c, k)
            if extreme:
                a[:], b[:] = 255, -128
                a[1::2] *= int(rng.choice([-1, 1]))
            sums += a @ b.T
            if last:
                last_at = cycle
                expected[cycle + latency] = sums
            await tick((step == 0, last, a, b))
    for _ in range(latency + t):
        await tick()
    assert watched == P["tiles"]
    assert not expected


@cocotb.test(skip=P.get("bubble_rate", 0) > 0)
async def full_range(dut):
    """One sum approaches the bounds of int32 with the largest products."""
    t, c, k, latency = (P[n] for n in ("t", "c", "k", "latency"))
    await start(dut)
    steps = (1 << 31) // (255 * 128 * k) if k >= 16 else 200
    signs = np.where(np.arange(t) % 2, -1, 1)
    dut.a.value, dut.b.value = pack(np.repeat(255 * signs, k), 9), pack(np.full(c * k, -128), 8)
    for step in range(steps):
        dut.valid.value, dut.first.value, dut.last.value = 1, step == 0, step == steps - 1
        await RisingEdge(dut.clk)
    dut.valid.value = 0
    for _ in range(latency - 1):
        await RisingEdge(dut.clk)
    assert int(dut.capturing.value) == 1
    dut.shift.value = 1
    await RisingEdge(dut.clk)
    for row in range(t):
        await RisingEdge(dut.clk)
        assert unpack(dut.row.value.to_unsigned(), c) == [int(signs[row]) * -255 * 128 * k * steps] * c
