"""cocotb bench of the softmax unit: tiles of scores through both halves, written and read at the same time.

The stimulus is made first, cycle by cycle, with the results it must give (integer arithmetic of docs/numerics.md).
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.tables import EXP

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
T, C, K, KEYS = (P.get(name, 1) for name in ("t", "c", "k", "keys"))
INPUTS = [f"write__{name}" for name in ("en", "half", "row", "word", "data", "mask", "first")]
INPUTS += [f"read__{name}" for name in ("en", "half", "step", "begin", "keys", "sum", "first", "last")]
INPUTS += ["factors__row"]


def probability(u, key):
    """`key` counts from the first one that does."""
    return (EXP[u & 31] >> (u >> 5)) + int(f"{key % 32:05b}"[::-1], 2) >> 5


def scores_of(rng, style, padded):
    if style == 0:
        return rng.integers(-(1 << 15), 1 << 15, (T, padded))
    if style == 1:  # all probabilities matter
        return rng.integers(-(1 << 15), (1 << 15) - 600, (T, 1)) + rng.integers(0, 400, (T, padded))
    if style == 2:  # all equal: the largest sum
        return np.broadcast_to(rng.choice([-(1 << 15), 0, (1 << 15) - 1], (T, 1)), (T, padded))
    if style == 3:  # the largest differences
        return rng.choice([-(1 << 15), (1 << 15) - 1], (T, padded))
    # at the edge where probabilities vanish
    edges = [0, 255, 256, 287, 288, 289, 319, 415, 416, 512, 1024]
    return rng.integers(-1000, 1000, (T, 1)) - rng.choice(edges, (T, padded))


def schedule(rng, tiles):
    """Inputs and expected outputs: {cycle: {name: value}}, {cycle: operand}, {(cycle, row): factor}."""
    inputs, operands, factors = {}, {}, {}
    write_cycle = read_cycle = 0
    half_free = [0, 0]
    last_division = -(10**6)
    for tile in range(tiles):
        half = tile % 2
        keys = KEYS if tile in (1, 5) else int(rng.integers(1, KEYS + 1))
        begin = 0 if tile in (0, 5) else int(rng.integers(min(keys, max(C, K))))
        word_count = -(-keys // C)
        scores = scores_of(rng, 2 if tile == 5 else tile % 5, word_count * C)
        beyond = (np.arange(word_count * C) < begin) | (np.arange(word_count * C) >= keys)
        scores = np.where(beyond & (rng.integers(2) == 0), (1 << 15) - 1, scores)  # must not become the maximum
        hurried = rng.integers(2) == 0
        write_cycle = max(write_cycle, half_free[half])
        word_range = range(word_count) if rng.integers(2) else rng.permutation(word_count)
        order = [(int(word), row) for word in word_range for row in range(T)]
        if tile == 3:  # a row at a time: its maximum is updated in consecutive cycles
            order.sort(key=lambda item: item[1])
        if tile % 5 in (1, 4):  # the very last write raises its row's maximum: reading too early must show
            word, row = order[-1]
            scores = scores.copy()
            raised = max(begin, min(word * C + int(rng.integers(C)), keys - 1))
            scores[row, raised] = scores[row].clip(max=(1 << 15) - 100).max() + 60
        started = set()
        for word, row in order:
            part = slice(word * C, word * C + C)
            inputs.setdefault(write_cycle, {}).update(
                write__en=1, write__half=half, write__row=row, write__word=word, write__first=int(row not in started),
                write__data=sum((int(v) & 0xFFFF) << (16 * i) for i, v in enumerate(scores[row, part])),
                write__mask=sum(int(not out) << i for i, out in enumerate(beyond[part])),
            )  # fmt: skip
            started.add(row)
            last_write = write_cycle
            write_cycle += 1 if hurried else int(rng.integers(1, 4))
        read_cycle = max(read_cycle, last_write + P["write_latency"])
        maximum = scores[:, begin:keys].max(axis=1).tolist()
        counted = scores[:, begin:keys].tolist()
        p = np.array([[probability(maximum[t] - s, n) for n, s in enumerate(row)] for t, row in enumerate(counted)])
        p = np.pad(p, ((0, 0), (begin, 2 * K + C)))
        steps = -(-keys // K)
        extra = steps + int(rng.integers(2)) if steps * K < (KEYS // max(C, K)) * max(C, K) else steps
        for sweep in range(2):
            for step in range(extra):
                last = sweep == 0 and step == extra - 1
                if last:
                    read_cycle = max(read_cycle, last_division + T)
                    last_division = read_cycle
                inputs.setdefault(read_cycle, {}).update(
                    read__en=1, read__half=half, read__step=step, read__begin=begin, read__keys=keys,
                    read__sum=int(sweep == 0), read__first=int(step == 0), read__last=int(last),
                )  # fmt: skip
                if sweep:  # without `sum` neither flag means anything
                    inputs[read_cycle].update(read__first=int(rng.integers(2)), read__last=int(rng.integers(2)))
                block = p[:, step * K : step * K + K].reshape(-1)
                operands[read_cycle + P["latency"]] = sum(int(v) << (8 * i) for i, v in enumerate(block))
                half_free[half] = read_cycle + 1
                if last:
                    for row in range(T):
                        factors[read_cycle + P["factor_latency"] + row, row] = (1 << 24) // int(p[row].sum())
                read_cycle += 1 if hurried else int(rng.integers(1, 3))
    return inputs, operands, factors, read_cycle + P["factor_latency"] + T + 2


@cocotb.test()
async def tiles(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value, dut.write__en.value, dut.read__en.value = 1, 0, 0
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    inputs, operands, factors, cycles = schedule(rng, P["tiles"])
    handles = {name: getattr(dut, name) for name in INPUTS if hasattr(dut, name)}
    widths = {name: len(handle) for name, handle in handles.items()}
    current = [None] * T
    checked = 0
    for cycle in range(cycles):
        await RisingEdge(dut.clk)
        wanted = inputs.get(cycle, {})
        row = int(rng.integers(T))
        for name, handle in handles.items():
            junk = int.from_bytes(rng.bytes(-(-widths[name] // 8)), "little") & ((1 << widths[name]) - 1)
            idle = 0 if name in ("write__en", "read__en") else junk
            handle.value = row if name == "factors__row" else wanted.get(name, idle)
        for other in range(T):
            current[other] = factors.get((cycle, other), current[other])
        await ReadOnly()
        assert int(dut.a_valid.value) == (cycle in operands)
        if cycle in operands:
            assert int(dut.a.value) == operands[cycle], f"operand in cycle {cycle}"
        if current[row] is not None:
            assert int(dut.factors__factor.value) == current[row], f"factor of row {row} in cycle {cycle}"
            checked += 1
    assert checked > P["tiles"]
