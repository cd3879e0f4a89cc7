"""cocotb bench of PostProcess: random and extreme beats against the integer arithmetic of docs/numerics.md."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwgen.machine.tables import ACTIVATION_ENTRIES
from tests.rtl.ports import pack

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
INT32 = (-(2**31), 2**31 - 1)
INT8, INT16, INT24, OPERAND, ACTIVATION = range(5)
#: Bits of what a mode saturates to; ACTIVATION: in front of its table.
BITS = (8, 16, 24, 9, 13)


def rshift(v, s):
    return v if s == 0 else (v + (1 << (s - 1))) >> s


def clamp(v, low, high):
    return min(max(v, low), high)


def post(beat, lane, table):
    mult = beat["mult"][lane]
    if beat["use_factor"]:
        mult = (beat["factor"] * mult) >> 16
    v = rshift((beat["acc"][lane] + beat["bias"][lane]) * mult, beat["shift"][lane])
    if beat["mode"] == OPERAND:
        return clamp(v, -255, 255)
    top = 1 << (BITS[beat["mode"]] - 1)
    v = clamp(v, -top, top - 1)
    if beat["mode"] != ACTIVATION:
        return v
    g = 4 * max(v, 0) - (table[abs(v)] if abs(v) < ACTIVATION_ENTRIES else 0)
    factor = beat["up"][lane] * beat["act_mult"] // 128 if beat.get("gated") else beat["act_mult"]
    return clamp(rshift(g * factor, beat["act_shift"]) + beat["act_zero"], -255, 255)


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
        "mode": int(rng.integers(5)),
        "act_mult": pick(rng, 0, 65535),
        "act_shift": pick(rng, 0, 31),
        "act_zero": pick(rng, -2048, 2047),
    }
    if rng.integers(3):  # results near the bounds of the mode, ties included
        bits = BITS[beat["mode"]]
        for lane in range(c):
            shift = int(rng.integers(0, 33 - bits))
            beat["shift"][lane] = shift + 15
            beat["mult"][lane] = 1 << 15
            beat["bias"][lane] = int(rng.integers(-(1 << 20), 1 << 20))
            edges = (1 << (bits - 1), ACTIVATION_ENTRIES if beat["mode"] == ACTIVATION else 1)
            target = int(rng.choice([-1, 1]) * rng.choice(edges)) if rng.integers(2) else int(rng.integers(-256, 257))
            half = (1 << shift >> 1) + int(rng.integers(-1, 2)) if rng.integers(2) else 0
            beat["acc"][lane] = clamp((target << shift) + half - beat["bias"][lane], *INT32)
        if beat["factor"] < 1 << 15:
            beat["use_factor"] = 0
    if rng.integers(2):  # activations inside -255..255
        beat["act_mult"] = int(rng.integers(1 << 15, 1 << 16))
        beat["act_shift"] = int(rng.integers(16, 22))
    if P["gated"]:
        beat |= {"gated": int(rng.integers(2)), "up": [pick(rng, -255, 255) for _ in range(c)]}
    return beat


def codes(c):
    """Every pre-activation from -4108 to 4107, with the output rescaled to distinguish the steps of g and its ends."""
    values = list(range(-4108, 4108))
    for start in range(0, len(values), c):
        for zero, shift in ((0, 0), (-256, 4), (100, 5), (-2048, 2), (2047, 3)):
            yield {
                "acc": values[start : start + c], "bias": [0] * c, "mult": [1] * c, "shift": [0] * c, "use_factor": 0,
                "factor": 0, "mode": ACTIVATION, "act_mult": 1, "act_shift": shift, "act_zero": zero,
            }  # fmt: skip


WIDTHS = {"acc": 32, "bias": 32, "mult": 16, "shift": 6}


def drive(dut, beat):
    beat = {name: value for name, value in beat.items() if name != "up"}
    for name, value in (({"gated": 0} if P["gated"] else {}) | beat).items():
        if name in WIDTHS:
            value = pack(value, WIDTHS[name])
        getattr(dut, f"row__{name}").value = value & 0xFFF if name == "act_zero" else value


async def load(dut, table):
    """Entries in any order; what stands at the port without `table__en` is no entry."""
    dut.row__valid.value = 0
    for index in np.random.default_rng(len(table)).permutation(len(table)).tolist():
        for enabled, data in ((1, table[index]), (0, 255 - table[index])):
            dut.table__en.value, dut.table__addr.value, dut.table__data.value = enabled, index, data
            await RisingEdge(dut.clk)


async def play(dut, rng, todo, table):
    """`todo` in order, noise in between."""
    c, latency = P["c"], P["latency"]
    todo = list(reversed(todo))
    gates = [random_beat(rng, c).get("up") for _ in range(P["up"])]  # of rows on their way
    expected, cycle, seen, total = {}, 0, 0, len(todo)
    while seen < total:
        beat = random_beat(rng, c)
        valid = bool(todo) and rng.random() >= P["bubble_rate"]
        if valid:
            beat = todo.pop()
            expected[cycle + latency] = [post(beat, lane, table) for lane in range(c)]
        drive(dut, beat)
        gates.append(beat.get("up", [0] * c))
        if P["gated"]:
            dut.up.value = pack(gates[-1 - P["up"]], 9)
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


@cocotb.test()
async def beats(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    c = P["c"]
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.row__valid.value = dut.table__en.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for table in ([255] * ACTIVATION_ENTRIES, rng.integers(0, 256, ACTIVATION_ENTRIES).tolist()):
        await load(dut, table)
        await play(dut, rng, [random_beat(rng, c) for _ in range(P["beats"])], table)
    if P["codes"]:
        await play(dut, rng, list(codes(c)), table)
