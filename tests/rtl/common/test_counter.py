"""Saturating counters: exact sums, then a stop close to the maximum instead of a wrap."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from hwgen.rtl.common.counter import saturating_counter


def counts(bits: int, width: int, amounts: list[int]) -> list[int]:
    m, clear, amount, out = Module(), Signal(), Signal(width), Signal(bits)
    m.d.comb += out.eq(saturating_counter(m, bits=bits, clear=clear, amount=amount, name="count"))
    seen = []

    async def bench(ctx):
        for value in amounts:
            ctx.set(amount, value)
            await ctx.tick()
            seen.append(ctx.get(out))
        # What comes with the clear is forgotten, what comes behind it counts.
        for cleared, value in ((1, (1 << width) - 1), (0, 1), (0, 0), (0, 0), (0, 0)):
            ctx.set(clear, cleared)
            ctx.set(amount, value)
            await ctx.tick()
        assert ctx.get(out) == 1

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


@pytest.mark.parametrize(("bits", "width"), [(8, 1), (9, 2), (12, 4), (20, 8)])
def test_saturates(bits, width):
    rng = random.Random(bits)
    largest, maximum = (1 << width) - 1, (1 << bits) - 1
    amounts = [rng.choice([0, 1, largest, rng.randint(0, largest)]) for _ in range(200)]
    amounts += [largest] * (maximum // largest + 8)
    seen = counts(bits, width, amounts)
    total = 0
    for cycle, value in enumerate(seen[2:], 2):
        total += amounts[cycle - 2]  # a register for the amount, one for the sum, one to wait for the carry
        if total <= maximum - 4 * (largest + 1):
            assert value == total
        assert value <= maximum
    assert seen[-1] >= maximum - 4 * (largest + 1)
    assert seen[-1] == seen[-4]


def test_sum_is_exact_when_it_rests():
    amounts = [random.Random(1).randint(0, 7) for _ in range(300)] + [0, 0, 0, 0]
    assert counts(16, 3, amounts)[-1] == sum(amounts)


def test_too_narrow():
    with pytest.raises(ValueError, match="an amount of 4 bits is too wide for a counter of 8"):
        saturating_counter(Module(), bits=8, clear=Signal(), amount=Signal(4), name="count")
