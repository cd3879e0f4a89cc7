"""cocotb bench of the operand check: random instructions, fields at and beside their limits, against Python."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.isa import BY_NAME, OPCODES, OPTIONAL, ORDER, Dest, Op, Source, read_mask
from hwgen.machine.params import HwParams
from hwgen.machine.tables import ACTIVATION_ENTRIES

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
PK, RING, X_WORD = HW.param_words, HW.c * HW.k, 2 * HW.c
BEAT = HW.weight_bus // 8
#: Words that LOAD can fill, and tiles of C keys and steps of K keys in the score buffer.
LOAD_DEPTH = {Dest.X: HW.x_depth, Dest.NORM: 8 << (HW.norm_depth - 1).bit_length()}
KEYS = -(-HW.max_tokens // HW.word) * HW.word
KEY_TILES, PV_STEPS = KEYS // HW.c, KEYS // HW.k


def encode(f):
    word = 0
    for name, value in f.items():
        assert 0 <= value < 1 << BY_NAME[name].bits, (name, value)
        word |= value << BY_NAME[name].offset
    return word


def stream_bytes(f):
    """What a MATMUL's stream takes: packed ones fill whole beats, or pairs of ring words if these are smaller."""
    piece = min(BEAT, RING)
    weights = -(-f["k_steps"] * RING // (2 * piece)) * piece if f["narrow"] else f["k_steps"] * RING
    return f["tiles"] * (PK * RING + weights)


def problem(f):
    """Why this instruction must be refused, or None. Absent fields are zero; every field is one the opcode reads."""
    op, tiles, steps = f["op"], f.get("tiles", 0), f.get("k_steps", 0)
    begin, end, size = f.get("row_begin", 0), f.get("row_end", 0), f.get("bytes", 0)
    if op not in list(Op):
        return "opcode"
    if any(f.get(name) and not getattr(HW, feature) for name, feature in OPTIONAL.items()):
        return "feature"
    if f.get("offset", 0) % (HW.weight_align if op == Op.MATMUL else 64):
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
    if op not in (Op.END, Op.LOAD) and tiles == 0:
        return "tiles"
    if op in (Op.IMAGE, Op.MATMUL, Op.ATTENTION, Op.ROUTE) and steps == 0:
        return "steps"
    if op == Op.MATMUL and f.get("gated"):
        row = (f["activate"], f["dest"], f["source"], f["use_queue"]) == (1, Dest.H, Source.Y, 0)
        if not HW.gated_mlp or not row:
            return "gate"
    if op == Op.MATMUL and steps < PK:
        return "fewer steps than parameter words"
    words = tiles * (PK + steps)
    match op:
        case Op.LOAD:
            if f["dest"] == Dest.ACTIVATION:
                return None if (size, f["d_base"]) == (ACTIVATION_ENTRIES, 0) else "activation"
            if f["dest"] not in LOAD_DEPTH:
                return "load destination"
            if size == 0 or size % X_WORD or f["d_base"] + size // X_WORD > LOAD_DEPTH[f["dest"]]:
                return "load"
        case Op.IMAGE:
            if size == 0 or f["a_stride"] == 0:
                return "image"
        case Op.NORM:
            if tiles > HW.norm_depth:
                return "parameters"
        case Op.MATMUL:
            if f["dest"] > Dest.LOGITS or f["source"] not in (Source.Y, Source.H):
                return "buffer"
            if size not in (0, stream_bytes(f)):
                return "weights"
            if f["keep"] and f["ring_offset"] + words > HW.weight_depth:
                return "kept"
            if not f["keep"] and (f["ring_offset"] or PK + steps > HW.weight_depth):
                return "step"
            if f["use_queue"] and (size == 0 or f["keep"]):
                return "kept for a queue"
        case Op.ATTENTION:
            if not 1 <= f["key_tiles"] <= KEY_TILES or not 1 <= f["pv_steps"] <= PV_STEPS:
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
    tile_limit = {Op.NORM: HW.norm_depth, Op.ROUTE: HW.max_experts}.get(op, 40)
    step_limit = {Op.MATMUL: HW.weight_depth - PK, Op.ROUTE: min(HW.max_topk, HW.max_experts)}.get(op, 40)
    limits = {
        "tiles": (tile_limit, 16), "k_steps": (step_limit, 16), "row_end": (HW.max_tokens, 16), "a_stride": (50, 16),
        "key_tiles": (KEY_TILES, 16), "pv_steps": (PV_STEPS, 16), "expert": (HW.max_experts - 1, 8),
        "dest": (Dest.LOGITS, 4), "source": (1, 2),
    }  # fmt: skip
    floors = {"expert": 0, "dest": 0, "source": 0} | ({"k_steps": PK} if op == Op.MATMUL else {})
    for name, (limit, bits) in limits.items():
        if name in f:
            f[name] = around(limit, bits, floor=floors.get(name, 1))
    if op == Op.MATMUL and rng.random() < 0.15:
        f["k_steps"] = PK + int(rng.integers(-1, 1))
    if op == Op.MATMUL:
        f["gated"] = int(rng.random() < (0.4 if HW.gated_mlp else 0.05))
        if f["gated"] and rng.random() < 0.7:
            f |= {"activate": 1, "dest": Dest.H, "source": Source.Y, "use_queue": 0, "scatter": 0}
    if op == Op.STORE and rng.random() < 0.8:
        f["source"] = int(rng.choice([Source.X, Source.Y]))
    if "row_begin" in f and "row_end" in f:
        f["row_begin"] = around(f["row_end"], 16) if rng.random() < 0.2 else int(rng.integers(max(f["row_end"], 1)))
    if op == Op.MATMUL:
        f["scatter"] = f["scatter"] if rng.random() < 0.1 else f["scatter"] & f["use_queue"]
        if f["use_queue"]:
            f["row_begin"] = f["row_end"] = 0
            f["keep"] &= rng.random() < 0.2
        if f["keep"] and rng.random() < 0.8:
            f["tiles"] = around(max(HW.weight_depth // (PK + f["k_steps"]), 1), 16)
        room = HW.weight_depth - f["tiles"] * (PK + f["k_steps"]) if f["keep"] else 0
        f["ring_offset"] = around(max(room, 0), 16, floor=0) if f["keep"] or rng.random() < 0.1 else 0
    if op == Op.GATHER and rng.random() < 0.8:
        f["use_queue"] = 1
    for name in OPTIONAL.keys() & f.keys():
        f[name] &= getattr(HW, OPTIONAL[name]) or rng.random() < 0.1
    if "offset" in f:
        f["offset"] &= ~63 if rng.random() < 0.2 else ~(HW.weight_align - 1)
    if "bytes" in f:
        if op == Op.MATMUL:
            f["bytes"] = stream_bytes(f)
        if op == Op.STORE:
            f["bytes"] = f["tiles"] * max(f["row_end"] - f["row_begin"], 0) * X_WORD
        if op == Op.LOAD:
            f["dest"] = int(rng.choice(list(LOAD_DEPTH))) if rng.random() < 0.9 else f["dest"]
            depth = LOAD_DEPTH.get(f["dest"], HW.x_depth)
            f["d_base"] = around(depth, 16)
            f["bytes"] = max(depth - f["d_base"] + int(rng.integers(-1, 2)), 0) * X_WORD
            if rng.random() < 0.3:
                base = int(rng.choice([0, 0, 0, f["d_base"]]))
                f |= {"dest": Dest.ACTIVATION, "bytes": ACTIVATION_ENTRIES, "d_base": base}
        if rng.random() < 0.1:
            f["bytes"] += int(rng.choice([-1, 1, 1 << 31, X_WORD, RING, RING // 2, -RING // 2]))
        if rng.random() < (0.3 if op == Op.MATMUL else 0.05):
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
    if op == Op.MATMUL:
        f["k_steps"] = PK
    if op == Op.GATHER:
        f["use_queue"] = 1
    if "bytes" in f:
        f["bytes"] = 2 * PK * RING if op == Op.MATMUL else X_WORD
    if op == Op.LOAD:
        f["dest"] = Dest.X
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
        if op == Op.MATMUL:
            assert int(bench.port("words").value) == f["tiles"] * (PK + f["k_steps"])
        seen.setdefault(op, set()).add(expected)
    # The random instructions do reach the rules.
    assert all(None in reasons for reasons in seen.values())
    rules = {
        Op.LOAD: 4, Op.IMAGE: 4, Op.NORM: 4, Op.MATMUL: 12, Op.ATTENTION: 5, Op.ROUTE: 4, Op.GATHER: 3, Op.STORE: 4,
    }  # fmt: skip
    for op, count in rules.items():
        unreachable = op in (Op.MATMUL, Op.GATHER) and HW.max_experts == 256
        unreachable += op == Op.MATMUL and PK == 1
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
async def gates(dut):
    """Activations alone are gated, of rows of Y, by what is in H; a machine without it refuses."""
    bench = Bench(dut)
    await bench.start()
    f = simple(Op.MATMUL) | {"gated": 1, "activate": 1, "dest": Dest.H, "source": Source.Y}
    assert await bench.check(encode(f)) == (1, HW.gated_mlp)
    others = [{"dest": dest} for dest in Dest if dest != Dest.H] + [{"activate": 0}, {"source": Source.H}]
    for change in [*others, {"use_queue": 1, "row_end": 0}]:
        assert await bench.check(encode(f | change)) == (1, 0), change


@cocotb.test()
async def load_words(dut):
    """Tables are whole words that fit: LoadUnit would wait for the rest of the last one. The activation's is as long as
    it is."""
    bench = Bench(dut)
    await bench.start()
    for dest, depth in LOAD_DEPTH.items():
        f = simple(Op.LOAD) | {"dest": dest, "d_base": min(depth, 1 << 16) - 1, "bytes": X_WORD}
        assert await bench.check(encode(f)) == (1, 1)
        for size in (1, X_WORD - 1, X_WORD + 1, 2 * X_WORD):
            assert await bench.check(encode(f | {"bytes": size})) == (1, 0), (dest, size)
    table = simple(Op.LOAD) | {"dest": Dest.ACTIVATION, "bytes": ACTIVATION_ENTRIES}
    assert await bench.check(encode(table)) == (1, 1)
    for change in [{"bytes": size} for size in (0, 512, 1023, 1025, 2048, 1024 + (1 << 31))] + [
        {"d_base": 1 << bit} for bit in range(16)
    ]:
        assert await bench.check(encode(table | change)) == (1, 0), change
    for dest in set(range(16)) - set(LOAD_DEPTH) - {Dest.ACTIVATION}:
        for size in (X_WORD, 512):
            assert await bench.check(encode(simple(Op.LOAD) | {"dest": dest, "bytes": size})) == (1, 0), dest


@cocotb.test()
async def offsets(dut):
    """Multiples of 64; of weights, so in each port's share of them."""
    bench = Bench(dut)
    await bench.start()
    for op in (Op.LOAD, Op.IMAGE, Op.MATMUL, Op.STORE):
        align = HW.weight_align if op == Op.MATMUL else 64
        for bit in range(32):
            word = encode(simple(op) | {"offset": 1 << bit})
            assert await bench.check(word) == (1, 1 << bit >= align), (op.name, bit)


@cocotb.test()
async def ring_words(dut):
    """What is kept in the ring must fit, up to the last word."""
    bench = Bench(dut)
    await bench.start()
    offset = min(HW.weight_depth - 2 * PK, (1 << 16) - 1)
    steps = HW.weight_depth - offset - PK
    kept = simple(Op.MATMUL) | {"keep": 1, "bytes": 0, "ring_offset": offset, "k_steps": steps}
    assert await bench.check(encode(kept)) == (1, 1)
    for change in ({"k_steps": steps + 1}, {"tiles": 2}, {"keep": 0}):
        assert await bench.check(encode(kept | change)) == (1, 0), change
    last = kept | {"keep": 0, "ring_offset": 0, "k_steps": HW.weight_depth - PK}
    assert await bench.check(encode(last)) == (1, 1)
    assert await bench.check(encode(last | {"k_steps": HW.weight_depth - PK + 1})) == (1, 0)
    queued = simple(Op.MATMUL) | {"use_queue": 1, "row_end": 0}
    for change in ({"bytes": 0}, {"keep": 1}):
        assert await bench.check(encode(queued | change)) == (1, 0), change


@cocotb.test()
async def short_products(dut):
    """A step for each parameter word at least: the words are read beside the steps."""
    bench = Bench(dut)
    await bench.start()
    for f in (simple(Op.MATMUL), simple(Op.MATMUL) | {"use_queue": 1, "row_end": 0}, simple(Op.MATMUL) | {"narrow": 1}):
        for steps in range(PK + 2):
            f |= {"k_steps": steps}
            for kept in ({"bytes": stream_bytes(f)},) if f["use_queue"] else ({"bytes": stream_bytes(f)}, {"bytes": 0}):
                assert await bench.check(encode(f | kept)) == (1, steps >= PK), (f, kept)


@cocotb.test()
async def stray_bits(dut):
    """Every bit that an opcode does not read must be zero (docs/instruction_set.md); the others may be anything."""
    bench = Bench(dut)
    await bench.start()
    missed = []
    for op in Op:
        word, mask = encode(simple(op)), read_mask(op, HW)
        for bit in range(512):
            if not mask >> bit & 1 and await bench.check(word | 1 << bit) != (1, 0):
                missed.append((op.name, bit))
    assert not missed, f"not refused: {missed}"
    order = {name: (1 << BY_NAME[name].bits) - 1 for name in ORDER}
    for op in set(Op) - {Op.END}:
        assert await bench.check(encode(simple(op) | order)) == (1, 1), op
