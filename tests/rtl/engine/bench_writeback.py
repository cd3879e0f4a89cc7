"""cocotb bench of the write back: every destination's address, bank and data, from the table of docs/architecture.md.

Rows of all destinations follow each other at random. The bench plays the post-processing (`value` comes `post` cycles
after the row) and the X memory with its read latency.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge

from golden.fixed import add16
from hwgen.machine.isa import Dest
from hwgen.machine.params import HwParams
from tests.rtl.ports import Ports, noise, pack, pack_fields, reset

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
T, C, K, W = HW.t, HW.c, HW.k, HW.word
POST, LATENCY, X_LATENCY, NOTICE = (P.get(name, 0) for name in ("post", "latency", "x_latency", "notice"))
MATMUL, SCORE, CONTEXT = range(3)
FIELDS = (
    ("kind", 2), ("row", HW.row_bits), ("slot", T.bit_length() - 1), ("word", 16), ("half", 1), ("first", 1),
    ("dest", 4), ("d_base", 16), ("d_stride", 16), ("x_shift", 2), *[("gated", 1)] * HW.gated_mlp,
    ("key_begin", W.bit_length() - 1), ("key_end", HW.row_bits + 1),
)  # fmt: skip
PORTS = ("y", "h", "keys", "values", "x", "scores", "logits")
DESTINATIONS = [dest for dest in Dest if dest <= Dest.LOGITS]
#: Cycles between rows for the same word of X: the first one's sum must be in the memory when the second reads.
X_GAP = X_LATENCY + LATENCY + 1
X_WORDS = 1 << (HW.x_depth - 1).bit_length()  # that an address can tell apart
EXTREME16 = (-(1 << 15), (1 << 15) - 1, 0, -1, 1)


def random_row(rng):
    """Results to any destination; scores of the words around the keys that count."""
    row = {name: int(rng.integers(1 << bits)) for name, bits in FIELDS}
    row |= {"kind": int(rng.choice([MATMUL, MATMUL, MATMUL, SCORE, CONTEXT])), "dest": int(rng.choice(DESTINATIONS))}
    row |= {"row": int(rng.integers(HW.max_tokens)), "word": int(rng.integers(60))}
    if rng.integers(3):
        row |= {"d_base": int(rng.integers(1000)), "d_stride": int(rng.integers(1000))}
    if row["kind"] == CONTEXT:
        row["dest"] = int(Dest.Y)
    if row.get("gated"):
        row["gated"] = int(rng.random() < 0.4)
    if row.get("gated"):
        row |= {"kind": MATMUL, "dest": int(Dest.H)}
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
    return rng.integers(-255, 256, C)


def x_address(row):
    """The word of X that the row is for, or None."""
    if row["kind"] != MATMUL or row["dest"] not in (Dest.X, Dest.X_ADD):
        return None
    return (row["d_base"] + row["row"] * row["d_stride"] + row["word"]) % X_WORDS


def expect(row, values, old):
    """The port that is enabled, and what goes with it; addresses as long as they may be."""
    r, j = row["row"], row["word"]
    parts = W // C

    def banked(banks, parts=parts):
        out = {"addr": row["d_base"] + r // banks * row["d_stride"] + j // parts}
        out |= {"bank": r % banks} if banks > 1 else {}
        return out | ({"sub": j % parts} if parts > 1 else {}) | {"data": pack(values, 9)}

    if row["kind"] == CONTEXT:
        return "y", banked(T)
    if row["kind"] == SCORE:
        mask = pack([row["key_begin"] <= j * C + lane < row["key_end"] for lane in range(C)], 1)
        place = {"half": row["half"], "row": row["slot"], "word": j, "first": row["first"]}
        return "scores", place | {"data": pack(values, 16), "mask": mask}
    match row["dest"]:
        case Dest.Y | Dest.H:
            return ("y" if row["dest"] == Dest.Y else "h"), banked(T)
        case Dest.K:
            return "keys", banked(C)
        case Dest.V:
            return "values", banked(K, parts=1)
        case Dest.LOGITS:
            return "logits", {"word": j, "row": r, "data": pack(values, 24)}
    return "x", {"addr": x_address(row), "data": pack(x_word(row, values, old), 16)}


def x_word(row, values, old):
    return values if row["dest"] == Dest.X else add16(old, values, row["x_shift"])


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
    ports = Ports(dut, f"{P['part']}_")
    drive, port = ports.set, ports.get
    await reset(dut, ports, rows__valid=0)
    memory, trace = Memory(rng), []
    values_at, expected, x_data_at, reads = {}, {}, {}, set()
    seen, length, again, gates = set(), 4000, 0, {}
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
            if row.get("gated"):
                place = expected[cycle + POST + LATENCY][1]
                gates[cycle + P["gate"] - 2] = {name: place[name] for name in place if name != "data"}
            if old is not None and row["dest"] == Dest.X_ADD:
                reads.add(cycle + POST - X_LATENCY)
        drive(rows__valid=send, rows__row=pack_fields(row, FIELDS))
        drive(value=pack(values_at[cycle], 24) if cycle in values_at else noise(rng, 24 * C))
        drive(x_read__data=x_data_at.get(cycle, noise(rng, 16 * C)))
        await ReadOnly()
        watched = ("h__en", "x__en", "x_read__en", "h_soon", "x_read_next", "x_write_next")
        trace.append({name: port(name) for name in watched})
        if HW.gated_mlp:
            assert port("up__en") == (cycle in gates)
            for name, value in gates.get(cycle, {}).items():
                handle = getattr(dut, f"{P['part']}_up__{name}")
                assert int(handle.value) == value & ((1 << len(handle)) - 1), f"{name} of the gate in cycle {cycle}"
        assert port("x_read__en") == (cycle in reads)
        if port("x_read__en"):
            x_data_at[cycle + X_LATENCY] = memory.words[port("x_read__addr")]
        on = [name for name in PORTS if port(f"{name}__en")]
        assert on == ([expected[cycle][0]] if cycle in expected else []), f"{on} in cycle {cycle}"
        if on:
            enabled, written, dest = expected[cycle]
            for name, value in written.items():
                handle = getattr(dut, f"{P['part']}_{enabled}__{name}")
                assert int(handle.value) == value & ((1 << len(handle)) - 1), f"{enabled}.{name} in cycle {cycle}"
            seen.add((enabled, dest))
        if port("x__en"):
            memory.words[port("x__addr")] = port("x__data")
    assert len({pair for pair in seen if pair[0] != "scores"}) == len(DESTINATIONS) and again > 20
    assert not HW.gated_mlp or len(gates) > 200
    for forecast, event, notice in (
        ("h_soon", "h__en", NOTICE),
        ("x_read_next", "x_read__en", 1),
        ("x_write_next", "x__en", 1),
    ):
        early = [now[forecast] for now in trace[:-notice]]
        assert early == [now[event] for now in trace[notice:]], forecast
