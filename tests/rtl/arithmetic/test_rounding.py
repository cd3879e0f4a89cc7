"""Rounding shifts in Amaranth's own simulator: all values of small widths, extremes of the widths in use."""

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from hwgen.rtl.arithmetic.rounding import rounded_shift, saturated_half


def evaluate(m, inputs, out, cases):
    """`out` for each case, a value per input."""
    found = []

    async def bench(ctx):
        for case in cases:
            for signal, value in zip(inputs, case, strict=True):
                ctx.set(signal, value)
            await ctx.delay(1e-9)
            found.append(ctx.get(out))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize(("bits", "amounts"), [(1, 2), (5, 3), (8, 4)])
def test_rounded_shift(bits, amounts):
    m, value, amount, out = Module(), Signal(bits), Signal(amounts), Signal(bits)
    m.d.comb += out.eq(rounded_shift(m, value, amount, "doubled"))
    cases = [(v, s) for v in range(1 << bits) for s in range(1 << amounts)]
    assert evaluate(m, (value, amount), out, cases) == [(v + (1 << s >> 1)) >> s for v, s in cases]


def ends(width, bits):
    """All doubled values of a small width; of a large one those around zero, its ends and where saturation begins."""
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    if width <= 10:
        return range(low, high + 1)
    turns = (low, -(1 << bits), 0, 1 << bits, high)
    return [v for turn in turns for v in range(turn - 9, turn + 10) if low <= v <= high]


@pytest.mark.parametrize(
    ("width", "bits", "symmetric"),
    [(10, 4, 0), (10, 8, 0), (9, 1, 0), (34, 8, 0), (34, 16, 0), (50, 24, 0), (40, 18, 0), (10, 4, 1), (36, 9, 1)],
)
def test_saturated_half(width, bits, symmetric):
    m, doubled, out = Module(), Signal(width), Signal(bits)
    m.d.comb += out.eq(saturated_half(m, doubled, bits, "rounded", symmetric=bool(symmetric)))
    low, high = symmetric - (1 << bits - 1), (1 << bits - 1) - 1
    values = ends(width, bits)
    wanted = [min(max((v + 1) >> 1, low), high) % (1 << bits) for v in values]
    assert evaluate(m, (doubled,), out, [(v % (1 << width),) for v in values]) == wanted
