"""cocotb bench of Norm: X and Y as Python memories; the arithmetic of docs/numerics.md on Python integers."""

import json
import os
from collections import deque

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwgen.machine.tables import RSQRT
from tests.rtl.ports import pack

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
W = max(P["c"], P["k"])


def rshift(value, shift):
    return value if shift == 0 else (value + (1 << shift - 1)) >> shift


def saturate(value, bits):
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


def layernorm_row(x, dim, eps, statistics, rms, gamma, beta, shift):
    """`x` Python integers, `dim` of them."""
    if statistics:
        total = 0 if rms else sum(x)
        v = dim * sum(i * i for i in x) - total * total + eps
        assert 1 <= v < 1 << 52
        lz = (52 - v.bit_length()) // 2 * 2
        vn = v << lz
        m, y0 = vn >> 34, RSQRT[vn >> 46]
        q = y0 * y0 >> 16
        y1 = y0 * (3 * 2**16 - (m * q >> 16)) >> 17
        x = [saturate(rshift((dim * i - total) * y1, 31 - lz // 2), 18) for i in x]
    return [max(-255, min(255, rshift(i * g + b, shift))) for i, g, b in zip(x, gamma, beta, strict=True)]


def random_row(rng, dim):
    """A row of one of the kinds that stress sums, root and saturation."""
    kind = rng.integers(9)
    if kind == 0:
        return rng.integers(-32768, 32768, dim)
    if kind == 1:  # constant: V = eps
        return np.full(dim, rng.integers(-32768, 32768))
    if kind == 2:
        return rng.choice([-32768, 32767], dim)
    if kind == 3:  # one outlier
        x = np.full(dim, -32768)
        x[rng.integers(dim)] = 32767
        return x
    if kind == 4:
        return np.full(dim, rng.choice([-32768, 32767, 0]))
    if kind == 5:
        return np.where(np.arange(dim) < dim // 2, -32768, 32767)
    if kind == 6:
        return rng.integers(-2, 2, dim)
    return np.clip(np.round(rng.normal(rng.normal(0, 300), 10 ** rng.uniform(0, 4), dim)), -32768, 32767).astype(int)


class Machine:
    """Everything around the unit: `x`, the words to be written to the table, `hold` (how X's port is taken)."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        self.x = rng.integers(-32768, 32768, (P["x_depth"], P["c"]))
        self.table = deque()
        self.hold = 0.0
        self.burst = 0
        self.held = 0
        self.writes = {}
        self.cycle = 0
        self.done = False

    async def run(self):
        dut, rng = self.dut, self.rng
        x_pipe, held = None, 0
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            dut.x__data.value = (
                pack(self.x[x_pipe], 16) if x_pipe is not None else int.from_bytes(rng.bytes(2 * P["c"]))
            )
            assert not (held and dut.x__en.value == 1), "a read in the cycle after x_hold"
            x_pipe = int(dut.x__addr.value) if dut.x__en.value == 1 else None
            held = int(dut.x_hold.value)
            self.held += held
            dut.x_hold.value = self.next_hold()
            send = self.table and rng.integers(2)
            dut.affine__en.value = int(bool(send))
            address, word = self.table.popleft() if send else (int(rng.integers(1 << 16)), 0)
            dut.affine__addr.value, dut.affine__data.value = address, word
            if dut.y__en.value == 1:
                sub = int(dut.y__sub.value) if hasattr(dut, "y__sub") else 0
                place = int(dut.y__bank.value), int(dut.y__addr.value), sub
                assert place not in self.writes, f"{place} written twice"
                self.writes[place] = int(dut.y__data.value)
            self.done = dut.done.value == 1

    def next_hold(self):
        """With probability `hold`; above 1 solid bursts of up to so many cycles."""
        if self.hold <= 1:
            return int(self.rng.random() < self.hold)
        if self.burst == 0 and self.rng.integers(8) == 0:
            self.burst = int(self.rng.integers(1, self.hold + 1))
        self.burst = max(0, self.burst - 1)
        return int(self.burst > 0)

    def table_words(self, half, word, gamma, beta):
        """LOAD's words for one C-word of channels."""
        address = 4 * (half * P["norm_words"] + word)
        for plane, values in enumerate((beta & 0xFFFF, beta >> 16, gamma)):
            yield address + plane, pack(values, 16)
        yield address + 3, int.from_bytes(self.rng.bytes(2 * P["c"]))


def random_command(rng, machine, number):
    """Operands, words for the table, rows for X ({word: values}) and the words of Y they must give."""
    c, t, depth = P["c"], P["t"], P["norm_depth"]
    largest = min(depth * c, 2047)
    dim = int(rng.choice([1, c, c + 1, largest, largest, rng.integers(1, largest + 1)]))
    tiles = -(-dim // c)
    stride = tiles + int(rng.integers(3))
    rows = int(rng.integers(0 if number == 3 else 1, max(2, min(20, P["x_depth"] // stride - 1))))
    row_begin = int(rng.integers(0, P["x_depth"] // stride - rows + 1))
    a_base = int(rng.integers(0, P["x_depth"] - rows * stride + 1))
    row_words = -(-tiles // (W // c))
    d_stride = row_words + int(rng.integers(2))
    groups = (row_begin + rows) // t + 1
    assert groups * d_stride <= P["y_depth"]
    d_base = int(rng.integers(0, P["y_depth"] - groups * d_stride + 1))
    statistics, rms = bool(rng.integers(4)), bool(P.get("rms_norm") and rng.integers(2))
    eps = int(rng.choice([1, 1, 1000, 1 << 40, rng.integers(1, 1 << 40)]))
    shift = int(rng.choice([0, 31, rng.integers(8, 20), rng.integers(32)]))
    gamma, beta = np.zeros(tiles * c, dtype=int), np.zeros(tiles * c, dtype=int)
    gamma[:dim] = rng.choice([rng.integers(-32768, 32768, dim), rng.choice([-32768, 32767], dim)])
    beta[:dim] = rng.choice(
        [
            rng.integers(-(1 << 31), 1 << 31, dim),
            rng.choice([-(1 << 31), (1 << 31) - 1], dim),
            rng.integers(-9, 9, dim),
            (rng.choice([-257, -256, -255, 255, 256], dim) << min(shift, 22)) + rng.integers(-1, 2, dim),
        ]
    )
    half = int(rng.integers(2))
    table = []
    for j in range(tiles):
        part = slice(j * c, (j + 1) * c)
        table.extend(machine.table_words(half, j, gamma[part], beta[part]))
    expected, words = {}, {}
    for i in range(rows):
        x = np.zeros(tiles * c, dtype=int)
        x[:dim] = random_row(rng, dim)
        words.update({a_base + i * stride + j: x[j * c : (j + 1) * c] for j in range(tiles)})
        y = np.zeros(tiles * c, dtype=int)
        y[:dim] = layernorm_row(
            x[:dim].tolist(), dim, eps, statistics, rms, gamma[:dim].tolist(), beta[:dim].tolist(), shift
        )
        row = row_begin + i
        for j in range(tiles):
            place = row % t, d_base + row // t * d_stride + j // (W // c), j % (W // c)
            expected[place] = pack(y[j * c : (j + 1) * c], 9)
    command = {
        "statistics": statistics, "half": half, "a_base": a_base, "a_stride": stride, "row_begin": row_begin,
        "row_end": row_begin + rows, "tiles": tiles, "d_base": d_base, "d_stride": d_stride, "shift": shift,
        "dim": dim, "eps": eps, **({"rms": rms} if P.get("rms_norm") else {}),
    }  # fmt: skip
    return command, table, words, expected


@cocotb.test()
async def commands(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    machine = Machine(dut, rng)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.start.value, dut.affine__en.value, dut.x_hold.value = 0, 0, 0
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    cocotb.start_soon(machine.run())
    following = random_command(rng, machine, 0)
    machine.table.extend(following[1])
    for number in range(P["commands"]):
        command, _, words, expected = following
        following = random_command(rng, machine, number + 1)
        while machine.table:
            await RisingEdge(dut.clk)
        for address, values in words.items():
            machine.x[address] = values
        if following[0]["half"] != command["half"]:
            machine.table.extend(following[1])  # the half not in use
        machine.hold = float(rng.choice([0, 0, 0.2, 0.8, 10, 300]))
        for name, value in command.items():
            getattr(dut, name).value = int(value)
        machine.writes = {}
        dut.start.value = 1
        await RisingEdge(dut.clk)
        begun, machine.held = machine.cycle, 0
        dut.start.value = 0
        limit = (command["row_end"] - command["row_begin"] + 1) * command["tiles"] + P["overhead"]
        while not machine.done:
            await RisingEdge(dut.clk)
            taken = machine.cycle - begun - machine.held
            assert taken <= limit, f"slower than {limit} cycles: {command}"
        if machine.writes != expected:
            wrong = [p for p in expected if machine.writes.get(p) != expected[p]]
            raise AssertionError(f"{command}: {len(wrong)} of {len(expected)} wrong, {wrong[:3]}")
        for name in command:
            getattr(dut, name).value = 0
        if following[0]["half"] == command["half"]:
            machine.table.extend(following[1])
        for _ in range(int(rng.integers(1, 4))):
            await RisingEdge(dut.clk)
        assert len(machine.writes) == len(expected), "a write after done"
        assert dut.busy.value == 0
