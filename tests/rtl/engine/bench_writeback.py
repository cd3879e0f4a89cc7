"""cocotb bench of the write back: every destination's address, bank and data, from the table of docs/architecture.md.

Rows of all destinations follow each other at random. The bench plays the post-processing (`value` comes `post` cycles
after the row) and the X memory with its read latency.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.isa import Dest
from hwgen.machine.params import HwParams

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
T, C, K, W = HW.t, HW.c, HW.k, HW.word
POST, LATENCY, X_LATENCY, NOTICE = (P.get(name, 0) for name in ("post", "latency", "x_latency", "notice"))
MATMUL, SCORE, CONTEXT = range(3)
FIELDS = (
    ("kind", 2), ("row", HW.row_bits), ("slot", T.bit_length() - 1), ("word", 16), ("half", 1), ("first", 1),
    ("dest", 4), ("d_base", 16), ("d_stride", 16), ("key_begin", W.bit_length() - 1), ("key_end", HW.row_bits + 1),
)  # fmt: skip
ENABLES = ("y_en", "h_en", "k_en", "v_en", "x_en", "s_en", "logit_en")
DESTINATIONS = [dest for dest in Dest if dest != Dest.NORM]
#: Cycles between rows for the same word of X: the first one's sum must be in the memory when the second reads.
X_GAP = X_LATENCY + LATENCY + 1
EXTREME16 = (-(1 << 15), (1 << 15) - 1, 0, -1, 1)


def pack(values, bits):
    return sum((int(value) & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))


def pack_row(row):
    word, at = 0, 0
    for name, bits in FIELDS:
        word |= row[name] << at
        at += bits
    return word


def random_row(rng):
    """Results to any destination; scores of the words around the keys that count."""
    row = {name: int(rng.integers(1 << bits)) for name, bits in FIELDS}
    row |= {"kind": int(rng.choice([MATMUL, MATMUL, MATMUL, SCORE, CONTEXT])), "dest": int(rng.choice(DESTINATIONS))}
    row |= {"row": int(rng.integers(HW.max_tokens)), "word": int(rng.integers(60))}
    if rng.integers(3):
        row |= {"d_base": int(rng.integers(1000)), "d_stride": int(rng.integers(1000))}
    if row["kind"] == CONTEXT:
        row["dest"] = int(Dest.Y)
    if row["kind"] == SCORE:
        row["key_end"] = int(rng.integers(1, HW.max_tokens + 1))
        row["key_begin"] = int(rng.integers(min(W, row["key_end"])))
        edge = row["key_begin"] if rng.integers(2) else row["key_end"]
        row["word"] = max(0, edge // C + int(rng.integers(-1, 2)))
    return row


def random_int16(rng):
    values = rng.integers(-(1 << 15), 1 << 15, C)
    return np.where(rng.random(C) < 0.4, rng.choice(EXTREME16, C), values)


def random_values(rng, row):
    if row["kind"] == SCORE or x_address(row) is not None:
        return random_int16(rng)
    if row["kind"] == MATMUL and row["dest"] == Dest.LOGITS:
        return rng.integers(-(1 << 23), 1 << 23, C)
    return rng.integers(-128, 256, C)


def x_address(row):
    """The word of X that the row is for, or None."""
    if row["kind"] != MATMUL or row["dest"] not in (Dest.X, Dest.X_ADD):
        return None
    return (row["d_base"] + row["row"] * row["d_stride"] + row["word"]) & 0xFFFF


def expect(row, values, old):
    """The enable and the ports that go with it."""
    r, j = row["row"], row["word"]
    parts = W // C

    def banked(banks, port="addr", sub=True):
        address = row["d_base"] + r // banks * row["d_stride"] + (j // parts if sub else j)
        out = {port: address & 0xFFFF, "row": r}
        return out | ({"sub": j % parts} if sub and parts > 1 else {}) | {"data": pack(values, 8)}

    if row["kind"] == CONTEXT:
        return "y_en", banked(T)
    if row["kind"] == SCORE:
        mask = pack([row["key_begin"] <= j * C + lane < row["key_end"] for lane in range(C)], 1)
        place = {"s_half": row["half"], "s_row": row["slot"], "s_word": j, "s_first": row["first"]}
        return "s_en", place | {"s_data": pack(values, 16), "s_mask": mask}
    match row["dest"]:
        case Dest.Y | Dest.H:
            return ("y_en" if row["dest"] == Dest.Y else "h_en"), banked(T)
        case Dest.K:
            return "k_en", banked(C)
        case Dest.V:
            return "v_en", banked(K, "v_addr", sub=False)
        case Dest.LOGITS:
            return "logit_en", {"logit_word": j, "row": r, "logit_data": pack(values, 24)}
    return "x_en", {"x_addr": x_address(row), "x_data": pack(x_word(row, values, old), 16)}


def x_word(row, values, old):
    return values if row["dest"] == Dest.X else np.clip(old + values, -(1 << 15), (1 << 15) - 1)


class Memory:
    """X as the model has it, in the order of the rows, and as the write back made it: words as integers."""

    def __init__(self, rng):
        self.rng, self.model, self.words, self.used = rng, {}, {}, {}

    def row(self, cycle, row, values):
        """Takes the row; returns the old word (lanes), or None when it comes too early."""
        address = x_address(row)
        if cycle < self.used.get(address, -X_GAP) + X_GAP:
            return None
        self.used[address] = cycle
        old = self.model.get(address)
        if old is None:
            old = random_int16(self.rng)
            self.words[address] = pack(old, 16)
        self.model[address] = x_word(row, values, old)
        return old


@cocotb.test()
async def destinations(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)

    def drive(**values):
        for name, value in values.items():
            getattr(dut, f"{P['part']}_{name}").value = value

    def port(name):
        return int(getattr(dut, f"{P['part']}_{name}").value)

    def noise(bits):
        return int.from_bytes(rng.bytes(-(-bits // 8)), "little") & ((1 << bits) - 1)

    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    drive(in_valid=0)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    memory, trace = Memory(rng), []
    values_at, expected, x_data_at, reads = {}, {}, {}, set()
    seen, length, again = set(), 4000, 0
    for cycle in range(length + POST + LATENCY + 2):
        await RisingEdge(dut.clk)
        row, send = random_row(rng), cycle < length and rng.random() < (1.0, 0.6, 0.05)[cycle // 200 % 3]
        ripe = [address for address, at in memory.used.items() if at + X_GAP == cycle]
        if x_address(row) is not None and ripe:
            row |= {"d_base": ripe[0], "d_stride": 0, "word": 0}
            again += send
        values = random_values(rng, row)
        old = None
        if send and x_address(row) is not None:
            old = memory.row(cycle, row, values)
            send = old is not None
        if send:
            values_at[cycle + POST] = values
            expected[cycle + POST + LATENCY] = (*expect(row, values, old), row["dest"])
            if old is not None and row["dest"] == Dest.X_ADD:
                reads.add(cycle + POST - X_LATENCY)
        drive(in_valid=send, in_row=pack_row(row))
        drive(value=pack(values_at[cycle], 24) if cycle in values_at else noise(24 * C))
        drive(x_read_data=x_data_at.get(cycle, noise(16 * C)))
        await ReadOnly()
        trace.append({name: port(name) for name in ("h_en", "x_en", "x_read", "h_soon", "x_read_next", "x_write_next")})
        assert port("x_read") == (cycle in reads)
        if port("x_read"):
            x_data_at[cycle + X_LATENCY] = memory.words[port("x_read_addr")]
        on = [name for name in ENABLES if port(name)]
        assert on == ([expected[cycle][0]] if cycle in expected else []), f"{on} in cycle {cycle}"
        if on:
            enable, ports, dest = expected[cycle]
            assert {name: port(name) for name in ports} == ports, enable
            seen.add((enable, dest))
        if port("x_en"):
            memory.words[port("x_addr")] = port("x_data")
    assert len({pair for pair in seen if pair[0] != "s_en"}) == len(DESTINATIONS) and again > 20
    for forecast, event, notice in (
        ("h_soon", "h_en", NOTICE),
        ("x_read_next", "x_read", 1),
        ("x_write_next", "x_en", 1),
    ):
        early = [now[forecast] for now in trace[:-notice]]
        assert early == [now[event] for now in trace[notice:]], forecast
