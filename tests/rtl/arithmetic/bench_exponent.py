"""cocotb bench of ExponentRow against Python integers: every distance up to where nothing is left, extremes, masks."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hwgen.machine.tables import EXP
from hwgen.rtl.arithmetic.exponent import ExponentRow
from tests.rtl.parts import EXPONENTS
from tests.rtl.ports import Ports, reset

LOW, HIGH = -(1 << 15), (1 << 15) - 1


def power(distance, dither):
    return (EXP[distance & 31] >> (distance >> 5)) + dither >> 5


def rows(rng, k):
    """(maximum, scores, mask): no unmasked score above the maximum, masked ones anywhere."""
    distances = [*range(600), *range((1 << 16) - 40, 1 << 16), *(1 << bit for bit in range(16))]
    for distance in distances:
        maximum = int(rng.integers(LOW + distance, HIGH + 1))
        mask = int(rng.integers(1 << k)) | 1 << distance % k
        near = rng.integers(maximum - min(700, maximum - LOW), maximum + 1, k)
        scores = [int(near[i] if mask >> i & 1 else rng.integers(LOW, HIGH + 1)) for i in range(k)]
        scores[distance % k] = maximum - distance
        yield maximum, scores, mask


@cocotb.test()
@cocotb.parametrize(name=list(EXPONENTS))
async def powers(dut, name):
    k = EXPONENTS[name]
    ports, rng = Ports(dut, f"exponent_{name}_"), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut, ports, maximum=0, scores=0, mask=0, dither=0)
    due, found, dithers = [], [], [0] * ExponentRow.DITHER_AFTER
    for maximum, scores, mask in [*rows(rng, k), *([(0, [0] * k, 0)] * ExponentRow.LATENCY)]:
        packed = sum((score & 0xFFFF) << 16 * i for i, score in enumerate(scores))
        dither = [int(rng.choice([0, 31, rng.integers(32)])) for _ in scores]
        dithers.append(sum(value << 5 * i for i, value in enumerate(dither)))
        ports.set(maximum=maximum & 0xFFFF, scores=packed, mask=mask, dither=dithers.pop(0))
        due.append([power(maximum - scores[i], dither[i]) if mask >> i & 1 else 0 for i in range(k)])
        await RisingEdge(dut.clk)  # samples the values before the edge
        found.append([ports.get("p") >> 8 * i & 0xFF for i in range(k)])
    assert found[ExponentRow.LATENCY :] == due[: -ExponentRow.LATENCY]
