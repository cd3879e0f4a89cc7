"""DRAM addresses in Amaranth's own simulator: carries across and out of the halves."""

import random

from amaranth import Module, Signal
from amaranth.sim import Simulator

from hwgen.rtl.common.address import ADDRESS_LATENCY, byte_address

FULL = (1 << 64) - 1


def test_byte_address():
    rng = random.Random(5)
    m, base, offset, out = Module(), Signal(64), Signal(34), Signal(64)
    m.d.comb += out.eq(byte_address(m, base, offset))
    ends = [0, 1, (1 << 32) - 1, 1 << 32, FULL - 1, FULL]
    cases = [(b, o) for b in ends for o in (0, 1, (1 << 32) - 1, 1 << 32, (1 << 34) - 1)]
    cases += [(rng.getrandbits(64), rng.getrandbits(34)) for _ in range(200)]

    async def bench(ctx):
        for case in cases:
            ctx.set(base, case[0])
            ctx.set(offset, case[1])
            await ctx.tick().repeat(ADDRESS_LATENCY)
            assert ctx.get(out) == sum(case) & FULL, case

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
