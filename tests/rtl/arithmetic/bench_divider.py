"""cocotb bench of both dividers against Python's integer division."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))


def divisors(rng):
    """Around every power of two and around exact quotients, the smallest legal and the largest, and random ones."""
    low, high = (1 << (P["numerator"] - P["quotient_bits"])) + 1, (1 << P["den_bits"]) - 1
    chosen = [*range(low, min(low + 700, high + 1)), *range(max(low, high - 100), high + 1)]
    chosen += [(1 << bit) + delta for bit in range(P["den_bits"]) for delta in (-1, 0, 1)]
    chosen += [(1 << P["numerator"]) // quotient + delta for quotient in range(3, 300, 7) for delta in (-1, 0, 1)]
    chosen += np.exp(rng.uniform(np.log(low), np.log(high), 1000)).astype(int).tolist()
    return [den for den in chosen if low <= den <= high]


async def reset(dut):
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    (dut.start if P["serial"] else dut.valid).value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test(skip=P.get("serial", False))
async def pipelined(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    todo = divisors(rng)
    expected = []
    cycle = done = 0
    while done < len(todo):
        await RisingEdge(dut.clk)
        give = len(expected) < len(todo) and (cycle < 300 or rng.integers(4) > 0)
        dut.valid.value = int(give)
        dut.den.value = todo[len(expected)] if give else int(rng.integers(1 << P["den_bits"]))
        if give:
            expected.append((cycle + P["latency"], todo[len(expected)]))
        await ReadOnly()
        due = done < len(expected) and expected[done][0] == cycle
        assert int(dut.out_valid.value) == due
        if due:
            den = expected[done][1]
            assert int(dut.quotient.value) == (1 << P["numerator"]) // den, den
            done += 1
        cycle += 1


@cocotb.test(skip=not P.get("serial", False))
async def serial(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    for den in divisors(rng)[::2]:
        abandoned = rng.integers(8) == 0
        for value in ([int(rng.integers(1 << P["den_bits"]))] if abandoned else []) + [den]:
            await RisingEdge(dut.clk)
            dut.start.value, dut.den.value = 1, value
            if value != den:
                for _ in range(int(rng.integers(P["latency"]))):
                    await RisingEdge(dut.clk)
                    dut.start.value = 0
        for waited in range(P["latency"] + 1):
            await ReadOnly()
            if waited:
                assert int(dut.done.value) == (waited == P["latency"])
            if waited < P["latency"]:
                await RisingEdge(dut.clk)
                dut.start.value, dut.den.value = 0, int(rng.integers(1 << P["den_bits"]))
        for _ in range(int(rng.integers(3))):
            await RisingEdge(dut.clk)
            await ReadOnly()
            assert int(dut.done.value) == 0
        assert int(dut.quotient.value) == (1 << P["numerator"]) // den, den
