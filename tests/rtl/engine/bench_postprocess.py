"""cocotb bench of PostProcess: random and extreme beats against the integer arithmetic of docs/numerics.md."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwgen.machine.tables import GELU

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
INT32 = (-(2**31), 2**31 - 1)


def rshift(v, s):
    return v if s == 0 else (v + (1 << (s - 1))) >> s


def clamp(v, low, high):
    return min(max(v, low), high)


def post(beat, lane):
    mult = beat["mult"][lane]
    if beat["use_factor"]:
        mult = (beat["factor"] * mult) >> 16
    v = rshift((beat["acc"][lane] + beat["bias"][lane]) * mult, beat["shift"][lane])
    if beat["mode"] < 3:
        bits = (7, 15, 23)[beat["mode"]]
        return clamp(v, -(1 << bits), (1 << bits) - 1)
    h = clamp(v, -512, 511)
    g = 4 * max(h, 0) - (GELU[abs(h)] if abs(h) < 256 else 0)
    return clamp(rshift(g * beat["gelu_mult"], beat["gelu_shift"]) + beat["gelu_zero"], 0, 255)


def pick(rng, low, high):
    """An integer in [low, high], often at or next to the ends or zero."""
    kind = rng.integers(4)
    if kind == 0:
        return int(rng.choice([low, high, min(low + 1, high), max(high - 1, low), clamp(0, low, high)]))
    return int(rng.integers(low, high + 1))


def random_beat(rng, c):
    beat = {
        "acc": [pick(rng, *INT32) for _ in range(c)],
        "bias": [pick(rng, *INT32) for _ in range(c)],
        "mult": [pick(rng, 0, 65535) for _ in range(c)],
        "shift": [pick(rng, 0, 47) for _ in range(c)],
        "use_factor": int(rng.integers(2)),
        "factor": pick(rng, 0, 131071),
        "mode": int(rng.integers(4)),
        "gelu_mult": pick(rng, 0, 65535),
        "gelu_shift": pick(rng, 0, 31),
        "gelu_zero": pick(rng, 0, 255),
    }
    if rng.integers(3):  # results near the bounds of the mode, ties included
        bits = (8, 16, 24, 10)[beat["mode"]]
        for lane in range(c):
            shift = int(rng.integers(0, 33 - bits))
            beat["shift"][lane] = shift + 15
            beat["mult"][lane] = 1 << 15
            beat["bias"][lane] = int(rng.integers(-(1 << 20), 1 << 20))
            target = int(rng.choice([-1, 1])) * (1 << (bits - 1)) if rng.integers(2) else int(rng.integers(-256, 257))
            half = (1 << shift >> 1) + int(rng.integers(-1, 2)) if rng.integers(2) else 0
            beat["acc"][lane] = clamp((target << shift) + half - beat["bias"][lane], *INT32)
        if beat["factor"] < 1 << 15:
            beat["use_factor"] = 0
    if rng.integers(2):  # GELU outputs inside 0..255
        beat["gelu_mult"] = int(rng.integers(1 << 15, 1 << 16))
        beat["gelu_shift"] = int(rng.integers(16, 21))
    return beat


def gelu_beats(c):
    """Every pre-activation from -520 to 519, with the output rescaled to distinguish all steps of g."""
    values = list(range(-520, 520))
    for start in range(0, len(values), c):
        for zero, shift in ((100, 3), (50, 1), (0, 6)):
            yield {
                "acc": values[start : start + c], "bias": [0] * c, "mult": [1] * c, "shift": [0] * c, "use_factor": 0,
                "factor": 0, "mode": 3, "gelu_mult": 1, "gelu_shift": shift, "gelu_zero": zero,
            }  # fmt: skip


WIDTHS = {"acc": 32, "bias": 32, "mult": 16, "shift": 6}


def drive(dut, beat):
    for name, value in beat.items():
        if name in WIDTHS:
            bits = WIDTHS[name]
            value = sum((v & ((1 << bits) - 1)) << (bits * i) for i, v in enumerate(value))
        getattr(dut, f"row__{name}").value = value


@cocotb.test()
async def beats(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    c, latency = P["c"], P["latency"]
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.row__valid.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    todo = [random_beat(rng, c) for _ in range(P["beats"])]
    if P["gelu"]:
        todo += gelu_beats(c)
    todo.reverse()
    expected = {}
    cycle = seen = 0
    total = len(todo)
    while seen < total:
        beat = random_beat(rng, c)
        valid = bool(todo) and rng.random() >= P["bubble_rate"]
        if valid:
            beat = todo.pop()
            expected[cycle + latency] = [post(beat, lane) for lane in range(c)]
        drive(dut, beat)
        dut.row__valid.value = valid
        await RisingEdge(dut.clk)  # samples the values before the edge
        assert int(dut.out_valid.value) == (cycle in expected), f"cycle {cycle}"
        if cycle in expected:
            out = dut.out.value.to_unsigned()
            lanes = [(out >> (24 * i) & 0xFFFFFF) for i in range(c)]
            assert [v - (v >> 23 << 24) for v in lanes] == expected.pop(cycle), f"cycle {cycle}"
            seen += 1
        cycle += 1
        assert cycle < 20 * total + 100
