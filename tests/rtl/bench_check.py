"""cocotb bench of the operand check: random instructions, fields at and beside their limits, against Python."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.isa import BY_NAME, FIELDS, OPCODES, Dest, Op, Source
from hwgen.params import HwParams

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
PK, RING, X_WORD = HW.param_words, HW.c * HW.k, 2 * HW.c


def encode(f):
    word = 0
    for name, value in f.items():
        assert 0 <= value < 1 << BY_NAME[name].bits, (name, value)
        word |= value << BY_NAME[name].offset
    return word


def problem(f):
    """Why this instruction must be refused, or None. Absent fields are zero; every field is one the opcode reads."""
    op, tiles, steps = f["op"], f.get("tiles", 0), f.get("k_steps", 0)
    begin, end, size = f.get("row_begin", 0), f.get("row_end", 0), f.get("bytes", 0)
    if op not in list(Op):
        return "opcode"
    if f.get("offset", 0) % 64:
        return "offset"
    if f.get("use_queue") and f["expert"] >= HW.max_experts:
        return "expert"
    if op == Op.GATHER and not f["use_queue"]:
        return "queue"
    takes_rows = op in (Op.NORM, Op.ATTENTION, Op.ROUTE, Op.MEAN, Op.STORE)
    if takes_rows or (op == Op.MATMUL and not f["use_queue"]):
        if begin >= end or end > HW.max_tokens:
            return "rows"
    if op == Op.MATMUL and f["scatter"] and not f["use_queue"]:
        return "scatter"
    if op not in (Op.END, Op.LOADX) and tiles == 0:
        return "tiles"
    if op in (Op.IMAGE, Op.MATMUL, Op.ATTENTION, Op.ROUTE) and steps == 0:
        return "steps"
    match op:
        case Op.LOADX:
            if size == 0 or size % X_WORD or f["d_base"] + size // X_WORD > HW.x_depth:
                return "position table"
        case Op.IMAGE:
            if size == 0 or f["a_stride"] == 0:
                return "image"
        case Op.NORM:
            if tiles > HW.norm_depth or tiles * PK > HW.weight_depth or size != tiles * PK * RING:
                return "parameters"
        case Op.MATMUL:
            if PK + steps > HW.weight_depth or size != tiles * (PK + steps) * RING:
                return "weights"
            if f["dest"] not in list(Dest) or f["source"] not in (Source.Y, Source.H):
                return "buffer"
        case Op.ATTENTION:
            if f["key_tiles"] == 0 or f["pv_steps"] == 0:
                return "keys"
        case Op.ROUTE:
            if tiles > HW.max_experts or steps > HW.max_topk or steps > tiles:
                return "experts"
        case Op.STORE:
            if size != tiles * (end - begin) * X_WORD or f["source"] not in (Source.X, Source.Y):
                return "store"
    return None


def random_fields(rng, op):
    """Mostly legal: each field with a limit is, now and then, at it, beside it or anything."""

    def around(limit, bits, floor=1):
        kind = rng.random()
        if kind < 0.08:
            return int(rng.integers(1 << bits))
        if kind < 0.12:
            return 0
        if kind < 0.35:
            return int(np.clip(limit + rng.integers(-1, 2), 0, (1 << bits) - 1))
        return int(rng.integers(floor, max(min(limit, (1 << bits) - 1), floor) + 1))

    f = {"op": op} | {name: int(rng.integers(1 << BY_NAME[name].bits)) for name in OPCODES.get(op, ("", ()))[1]}
    tile_limit = {Op.NORM: min(HW.norm_depth, HW.weight_depth // PK), Op.ROUTE: HW.max_experts}.get(op, 40)
    step_limit = {Op.MATMUL: HW.weight_depth - PK, Op.ROUTE: min(HW.max_topk, HW.max_experts)}.get(op, 40)
    limits = {
        "tiles": (tile_limit, 16), "k_steps": (step_limit, 16), "row_end": (HW.max_tokens, 16), "a_stride": (50, 16),
        "key_tiles": (9, 16), "pv_steps": (9, 16), "expert": (HW.max_experts - 1, 8), "dest": (max(Dest), 4),
        "source": (1, 2),
    }  # fmt: skip
    for name, (limit, bits) in limits.items():
        if name in f:
            f[name] = around(limit, bits, floor=0 if name in ("expert", "dest", "source") else 1)
    if op == Op.STORE and rng.random() < 0.8:
        f["source"] = int(rng.choice([Source.X, Source.Y]))
    if "row_begin" in f and "row_end" in f:
        f["row_begin"] = around(f["row_end"], 16) if rng.random() < 0.2 else int(rng.integers(max(f["row_end"], 1)))
    if op == Op.MATMUL:
        f["scatter"] = f["scatter"] if rng.random() < 0.1 else f["scatter"] & f["use_queue"]
        if f["use_queue"]:
            f["row_begin"] = f["row_end"] = 0
    if op == Op.GATHER and rng.random() < 0.8:
        f["use_queue"] = 1
    if "offset" in f:
        f["offset"] &= ~63
    if "bytes" in f:
        words = {Op.NORM: PK * RING, Op.MATMUL: (PK + f.get("k_steps", 0)) * RING}.get(op)
        if op == Op.STORE:
            words = max(f["row_end"] - f["row_begin"], 0) * X_WORD
        if op == Op.LOADX:
            f["d_base"] = around(HW.x_depth, 16)
            f["bytes"] = max(HW.x_depth - f["d_base"] + int(rng.integers(-1, 2)), 0) * X_WORD
        elif words is not None:
            f["bytes"] = f["tiles"] * words
        if rng.random() < 0.1:
            f["bytes"] += int(rng.choice([-1, 1, 1 << 31, X_WORD, RING]))
        if rng.random() < 0.05:
            f["bytes"] = 0
        f["bytes"] %= 1 << 32
    return f


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)

    def port(self, name):
        return getattr(self.dut, f"{P['part']}_{name}")

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def check(self, word):
        """(known, legal) of one instruction, held as long as the latency says."""
        await RisingEdge(self.dut.clk)
        self.port("instruction").value = word
        for _ in range(P["latency"]):
            await RisingEdge(self.dut.clk)
        await ReadOnly()
        return int(self.port("known").value), int(self.port("legal").value)


def simple(op):
    """A legal instruction of each opcode."""
    f = {"op": op} | dict.fromkeys(OPCODES[op][1], 0)
    f |= {name: 1 for name in ("row_end", "k_steps", "tiles", "a_stride", "key_tiles", "pv_steps") if name in f}
    if op == Op.GATHER:
        f["use_queue"] = 1
    if "bytes" in f:
        sizes = {Op.MATMUL: (PK + 1) * RING, Op.NORM: PK * RING, Op.STORE: X_WORD}
        f["bytes"] = sizes.get(op, 64 if X_WORD < 64 else X_WORD)
    return f


@cocotb.test()
async def against_oracle(dut):
    bench = Bench(dut)
    await bench.start()
    seen = {}
    for trial in range(3000):
        op = list(Op)[trial % len(Op)]
        f = random_fields(bench.rng, op)
        expected = problem(f)
        known, legal = await bench.check(encode(f))
        assert known == 1
        assert legal == (expected is None), f"{op.name} {f}: {expected}"
        seen.setdefault(op, set()).add(expected)
    # The random instructions do reach the rules.
    assert all(None in reasons for reasons in seen.values())
    rules = {Op.IMAGE: 4, Op.NORM: 4, Op.MATMUL: 7, Op.ATTENTION: 5, Op.ROUTE: 4, Op.GATHER: 3, Op.STORE: 4}
    for op, count in rules.items():
        unreachable = op in (Op.MATMUL, Op.GATHER) and HW.max_experts == 256
        assert len(seen[op]) >= count - unreachable, f"{op.name}: {seen[op]}"


@cocotb.test()
async def opcodes(dut):
    bench = Bench(dut)
    await bench.start()
    for op in range(256):
        known, _ = await bench.check(encode({"op": op}))
        assert known == (op in list(Op))
    for op in Op:
        assert await bench.check(encode(simple(op))) == (1, 1), op


@cocotb.test()
async def offset_alignment(dut):
    """Offsets are multiples of 64: the ports ignore the low bits of an address."""
    bench = Bench(dut)
    await bench.start()
    for op in Op:
        f = simple(op)
        if "offset" in f:
            for offset in (1, 8, 32, 64 + 16):
                assert problem(f | {"offset": offset}) == "offset"
                assert await bench.check(encode(f | {"offset": offset})) == (1, 0), f"{op.name} at {offset}"


@cocotb.test()
async def queue_rows(dut):
    """Rows of a queue begin at 0: a later `row_begin` would make the number of row tiles negative."""
    bench = Bench(dut)
    await bench.start()
    f = simple(Op.MATMUL) | {"use_queue": 1, "row_end": 0}
    assert await bench.check(encode(f)) == (1, 1)
    assert await bench.check(encode(f | {"row_begin": HW.t})) == (1, 0)


@cocotb.test()
async def position_words(dut):
    """A position table is whole words: LoadX would wait for the rest of the last one."""
    bench = Bench(dut)
    await bench.start()
    f = simple(Op.LOADX) | {"d_base": HW.x_depth - 1, "bytes": X_WORD}
    assert await bench.check(encode(f)) == (1, 1)
    for size in (1, X_WORD - 1, X_WORD + 1, 2 * X_WORD):
        assert await bench.check(encode(f | {"bytes": size})) == (1, 0), size


@cocotb.test()
async def stray_fields(dut):
    """Fields that an opcode does not read, and bits of no field, must be zero (docs/instruction_set.md)."""
    bench = Bench(dut)
    await bench.start()
    used = sum(((1 << field.bits) - 1) << field.offset for field in FIELDS)
    missed = []
    for op in Op:
        word = encode(simple(op))
        for field in FIELDS:
            if field.name != "op" and field.name not in OPCODES[op][1]:
                bit = 1 << field.offset + int(bench.rng.integers(field.bits))
                if await bench.check(word | bit) != (1, 0):
                    missed.append(f"{op.name}.{field.name}")
        unused = [bit for bit in range(512) if not used >> bit & 1]
        if unused and await bench.check(word | 1 << int(bench.rng.choice(unused))) != (1, 0):
            missed.append(f"{op.name}: bits of no field")
    assert not missed, f"not refused: {missed}"
