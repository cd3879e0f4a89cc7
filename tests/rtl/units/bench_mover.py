"""cocotb bench of Mover: queues, Y and H as Python memories."""

import json
import os
from collections import deque

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
W = max(P["c"], P["k"])
C, T = P["c"], P["t"]


def mean_operand(column, mult, shift):
    total = sum(column) * mult
    value = total if shift == 0 else (total + (1 << shift - 1)) >> shift
    return max(-255, min(255, value))


def place(row, word, base, stride):
    return row % T, base + row // T * stride + word // (W // C), word % (W // C)


def pack(values):
    return sum((int(v) & 511) << 9 * i for i, v in enumerate(values))


def value(dut, name):
    """Of a port that has no wires when its only value is 0."""
    return int(getattr(dut, name).value) if hasattr(dut, name) else 0


@cocotb.test()
async def commands(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.start.value, dut.queue_ready.value, dut.h_hold.value = 0, 0, 0
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    holds = deque([0] * (P["write_latency"] + 1), maxlen=P["write_latency"] + 1)
    asked = False
    for number in range(P["commands"]):
        tiles = int(rng.choice([1, 2, 3, 8, rng.integers(1, 20)]))
        words = -(-tiles // (W // C))
        a_stride, d_stride = (words + int(rng.integers(3)) for _ in range(2))
        a_base, d_base = int(rng.integers(50)), int(rng.integers(50))
        rows = int(rng.integers(1, P["max_tokens"] + 1))
        kind = rng.integers(4)
        y = (
            rng.integers(-255, 256, (rows, tiles * C))
            if kind < 2
            else np.full((rows, tiles * C), (-255, 255)[kind - 2])
        )
        memory = {
            place(row, j, a_base, a_stride): pack(y[row, j * C : (j + 1) * C])
            for row in range(rows)
            for j in range(tiles)
        }
        expert = int(rng.integers(P["max_experts"]))
        mean = number % 3 == 2
        count = 0 if number == 4 else int(rng.integers(1, rows + 1))
        queue = np.sort(rng.permutation(rows)[:count]).tolist()
        row_begin = int(rng.integers(rows))
        first_base = a_base + row_begin // T * a_stride if mean else a_base
        row_end = rows if rng.integers(2) else int(rng.integers(row_begin + 1, rows + 1))
        if number == 5:
            row_end = row_begin
        mult = int(rng.choice([0, 65535, rng.integers(1 << 15, 1 << 16)]))
        # around the exact mean, sometimes anything
        shift = int(rng.choice([0, 47, rng.integers(48), *[15 + (row_end - row_begin).bit_length()] * 4]))
        expected = {}
        if mean and row_end > row_begin:
            columns = y[row_begin:row_end].T.tolist()
            means = [mean_operand(column, mult, shift) for column in columns]
            expected = {place(0, j, d_base, d_stride): pack(means[j * C : (j + 1) * C]) for j in range(tiles)}
            limit = tiles * (row_end - row_begin + C + 14) + 10
        elif mean:
            limit = 10
        else:
            expected = {
                place(i, j, d_base, d_stride): pack(y[token, j * C : (j + 1) * C])
                for i, token in enumerate(queue)
                for j in range(tiles)
            }
            limit = max(tiles, 6) * count + 12
        command = {
            "mean": mean, "expert": expert, "count": count, "a_base": first_base, "a_stride": a_stride,
            "row_begin": row_begin, "row_end": row_end, "tiles": tiles, "d_base": d_base, "d_stride": d_stride,
            "mult": mult, "shift": shift,
        }  # fmt: skip
        for name, number_ in command.items():
            getattr(dut, name).value = int(number_)
        written, cycles, pending = {}, 0, None
        late, hold = rng.choice([0, 0, 0.5, 0.9], 2)
        burst, taken = 0, 0
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        while True:
            await RisingEdge(dut.clk)
            cycles += 1
            dut.y__data.value = pending if pending is not None else int.from_bytes(rng.bytes(9 * C)) >> 63 * C
            pending = None
            if dut.y__en.value == 1:
                pending = memory[value(dut, "y__bank"), value(dut, "y__addr"), value(dut, "y__sub")]
            dut.queue__token.value = int(rng.integers(P["max_tokens"]))
            if dut.queue__en.value == 1:
                assert not mean and value(dut, "queue__expert") == expert
                if dut.queue_ready.value == 1:
                    dut.queue__token.value = queue[value(dut, "queue__index")]
                else:
                    taken += 1
            else:
                assert not asked, "queue__en fell before queue_ready"
            asked = dut.queue__en.value == 1 and dut.queue_ready.value == 0
            dut.queue_ready.value = int(rng.random() >= late)
            holds.append(int(dut.h_hold.value))
            taken += holds[-1]
            burst = max(burst - 1, 0) or int(rng.random() < hold / 10) * int(rng.integers(1, 60))
            dut.h_hold.value = int(burst > 0 or rng.random() < hold / 2)
            if dut.h__en.value == 1:
                assert not holds[0], "a write WRITE_LATENCY cycles after h_hold"
                address = value(dut, "h__bank"), value(dut, "h__addr"), value(dut, "h__sub")
                assert address not in written, f"{address} written twice: {command}"
                written[address] = int(dut.h__data.value)
            if dut.done.value == 1:
                break
            assert cycles - taken <= limit, f"slower than {limit} cycles: {command}"
        wrong = [a for a in expected if written.get(a) != expected[a]]
        assert written == expected, f"{command}: {len(wrong)} of {len(expected)} wrong, {wrong[:3]}"
        for name in command:
            getattr(dut, name).value = 0
        for _ in range(int(rng.integers(1, 4))):
            await RisingEdge(dut.clk)
            assert dut.h__en.value == 0
        assert dut.busy.value == 0
