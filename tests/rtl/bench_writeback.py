"""cocotb bench of the write back: every destination's address, bank and data, from the table of docs/architecture.md.

The bench plays the post-processing (`value` comes `post` cycles after the row) and the X memory with its read latency.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.isa import Dest, Op, encode
from hwgen.params import HwParams

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
T, C, K, W = HW.t, HW.c, HW.k, HW.word
POST, LATENCY, X_LATENCY = P.get("post", 0), P.get("latency", 0), P.get("x_latency", 0)
MATMUL, SCORE, CONTEXT = range(3)
ENABLES = ("y_en", "h_en", "k_en", "v_en", "x_en", "s_en", "logit_en")
EXTREME16 = (-(1 << 15), (1 << 15) - 1, 0, -1, 1)


def pack(values, bits):
    return sum((int(value) & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))


def pack_row(row):
    word, at = 0, 0
    for name, bits in (("kind", 2), ("row", HW.row_bits), ("slot", T.bit_length() - 1), ("word", 16), ("half", 1),
                       ("first", 1)):  # fmt: skip
        word |= row[name] << at
        at += bits
    return word


def random_instruction(rng, trial):
    """MATMUL to each destination in turn, ATTENTION as the last of eight."""
    rows = int(rng.integers(1, HW.max_tokens + 1))
    f = {"d_base": int(rng.integers(1 << 16)) if trial % 3 else 0, "d_stride": int(rng.integers(1 << 10)), "d_word": 0}
    if trial % 8 == 7:
        f["row_end"] = rows
        return Op.ATTENTION, f, rows
    f["dest"] = trial % 8 if trial % 8 < 7 else 0
    if f["dest"] == Dest.X_ADD:  # no word twice
        f["d_base"], f["d_stride"] = int(rng.integers(1000)), 64 + int(rng.integers(1000))
    f["row_end"] = rows
    return Op.MATMUL, f, rows


def random_rows(rng, op, rows):
    """Tiles of rows as the drain emits them, some rows left out; scattered rows in any order."""
    order = rng.permutation(rows) if rng.integers(2) else np.arange(rows)
    for word in rng.permutation(60)[: rng.integers(1, 5)]:
        kind = MATMUL if op == Op.MATMUL else int(rng.choice([SCORE, CONTEXT]))
        if kind == SCORE:  # the last word that has keys, or one beside it
            word = max(0, (rows - 1) // C + int(rng.integers(-1, 2)))
        for index, row in enumerate(order):
            yield {"kind": kind, "row": int(row), "slot": index % T, "word": int(word), "half": int(rng.integers(2)),
                   "first": int(rng.integers(2))}  # fmt: skip


def random_values(rng, kind, dest):
    if kind == SCORE or (kind == MATMUL and dest in (Dest.X, Dest.X_ADD)):
        values = rng.integers(-(1 << 15), 1 << 15, C)
        return np.where(rng.random(C) < 0.4, rng.choice(EXTREME16, C), values)
    if kind == MATMUL and dest == Dest.LOGITS:
        return rng.integers(-(1 << 23), 1 << 23, C)
    return rng.integers(-128, 256, C)


def old_word(rng):
    values = rng.integers(-(1 << 15), 1 << 15, C)
    return np.where(rng.random(C) < 0.4, rng.choice(EXTREME16, C), values)


def expect(f, rows, row, values, old):
    """The enable and the ports that go with it."""
    r, j = row["row"], row["word"]
    parts = W // C

    def banked(banks, port="addr", sub=True):
        out = {port: (f["d_base"] + r // banks * f["d_stride"] + (j // parts if sub else j)) & 0xFFFF, "row": r}
        return out | ({"sub": j % parts} if sub and parts > 1 else {}) | {"data": pack(values, 8)}

    if row["kind"] == CONTEXT:
        return "y_en", banked(T)
    if row["kind"] == SCORE:
        mask = pack([j * C + lane < rows for lane in range(C)], 1)
        place = {"s_half": row["half"], "s_row": row["slot"], "s_word": j, "s_first": row["first"]}
        return "s_en", place | {"s_data": pack(values, 16), "s_mask": mask}
    match f["dest"]:
        case Dest.Y | Dest.H:
            return ("y_en" if f["dest"] == Dest.Y else "h_en"), banked(T)
        case Dest.K:
            return "k_en", banked(C)
        case Dest.V:
            return "v_en", banked(K, "v_addr", sub=False)
        case Dest.X:
            total = values
        case Dest.X_ADD:
            total = np.clip(old + values, -(1 << 15), (1 << 15) - 1)
        case Dest.LOGITS:
            return "logit_en", {"logit_word": j, "row": r, "logit_data": pack(values, 24)}
    return "x_en", {"x_addr": (f["d_base"] + r * f["d_stride"] + j) & 0xFFFF, "x_data": pack(total, 16)}


@cocotb.test()
async def destinations(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)

    def drive(**values):
        for name, value in values.items():
            getattr(dut, f"{P['part']}_{name}").value = value

    def port(name):
        return int(getattr(dut, f"{P['part']}_{name}").value)

    def noise(bits):
        return int.from_bytes(rng.bytes(bits // 8), "little")

    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    drive(instruction=0, rows=0, in_valid=0)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    memory = {}
    seen = set()
    for trial in range(48):
        op, f, rows = random_instruction(rng, trial)
        pending = list(random_rows(rng, op, rows))
        word = int.from_bytes(encode(op, **f), "little")
        values_at, expected, x_data_at = {}, {}, {}
        rate = (1.0, 0.6)[trial % 2]
        cycle, end = 0, None
        while end is None or cycle < end:
            await RisingEdge(dut.clk)
            send = bool(pending) and rng.random() < rate
            row = {"kind": int(rng.integers(3)), "row": 0, "slot": 0, "word": int(rng.integers(1 << 16))}
            row |= {"half": 0, "first": 0}
            if send:
                row = pending.pop(0)
                values = random_values(rng, row["kind"], f.get("dest"))
                values_at[cycle + POST] = values
                address = (f["d_base"] + row["row"] * f["d_stride"] + row["word"]) & 0xFFFF
                adds = row["kind"] == MATMUL and f["dest"] == Dest.X_ADD
                old = memory.setdefault(address, old_word(rng)) if adds else None
                expected[cycle + POST + LATENCY] = expect(f, rows, row, values, old)
            drive(instruction=word, rows=rows, in_valid=send, in_row=pack_row(row))
            drive(value=pack(values_at[cycle], 24) if cycle in values_at else noise(24 * C))
            drive(x_read_data=x_data_at.get(cycle, noise(16 * C)))
            await ReadOnly()
            if port("x_read"):
                assert op == Op.MATMUL and f["dest"] == Dest.X_ADD
                x_data_at[cycle + X_LATENCY] = pack(memory[port("x_read_addr")], 16)
            on = [name for name in ENABLES if port(name)]
            if cycle in expected:
                enable, ports = expected[cycle]
                assert on == [enable], f"{on} instead of {enable} in {op.name} {f}"
                got = {name: port(name) for name in ports}
                assert got == ports, f"{enable} of {op.name} {f}"
                seen.add((enable, f.get("dest")))
                if enable == "x_en":
                    data = port("x_data")
                    lanes = np.array([data >> 16 * lane & 0xFFFF for lane in range(C)])
                    memory[port("x_addr")] = np.where(lanes >> 15, lanes - (1 << 16), lanes)
            else:
                assert not on, f"{on} without a row"
            if not pending and end is None:
                end = cycle + POST + LATENCY + 2
            cycle += 1
    assert len(seen) == 9, seen
