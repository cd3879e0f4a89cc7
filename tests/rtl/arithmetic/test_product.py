"""Products in pieces, in Amaranth's own simulator: extreme and random operands, every split."""

import numpy as np
import pytest
from amaranth import Module, Signal, signed, unsigned
from amaranth.sim import Simulator

from hwgen.rtl.arithmetic.product import PRODUCT_LATENCY, product


def operands(shape, rng):
    """All extremes of the shape and some random values."""
    low, high = (-(1 << shape.width - 1), (1 << shape.width - 1) - 1) if shape.signed else (0, (1 << shape.width) - 1)
    return [low, low + 1, 0, 1, high - 1, high, *(int(v) for v in rng.integers(low, high, 6, endpoint=True))]


@pytest.mark.parametrize("wide", [18, 27])
@pytest.mark.parametrize(("a", "b"), [
    (signed(27), signed(27)), (unsigned(41), unsigned(11)), (unsigned(27), signed(16)), (signed(18), unsigned(18)),
    (unsigned(17), unsigned(17)), (signed(8), unsigned(36)),
], ids=str)  # fmt: skip
def test_product(a, b, wide):
    rng = np.random.default_rng(a.width * b.width)
    m = Module()
    left, right = Signal(a), Signal(b)
    result = product(m, left, right, wide=wide, name="p")
    pairs = [(x, y) for x in operands(a, rng) for y in operands(b, rng)]

    async def bench(ctx):
        for index in range(len(pairs) + PRODUCT_LATENCY):
            if index >= PRODUCT_LATENCY:
                x, y = pairs[index - PRODUCT_LATENCY]
                assert ctx.get(result) == x * y, (x, y)
            if index < len(pairs):
                ctx.set(left, pairs[index][0])
                ctx.set(right, pairs[index][1])
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
