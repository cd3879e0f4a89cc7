"""cocotb bench of the drain: tiles as close together as the issuer allows, every row with its parameters and factor.

The stimulus is made cycle by cycle beforehand: captures, parameter words and row factors, the latter two as late and as
early as the issuer and the softmax unit promise. The shadow rows and the router's queue memory are played by the bench.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, ReadWrite, RisingEdge

from hwgen.isa import Op, encode
from hwgen.params import HwParams

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
T, C, K, PK = HW.t, HW.c, HW.k, HW.param_words
HOLD, LATENCY = P.get("hold", 0), P.get("latency", 0)
MATMUL, SCORE, CONTEXT = range(3)
ROW_FIELDS = (("kind", 2), ("row", HW.row_bits), ("slot", T.bit_length() - 1), ("word", 16), ("half", 1), ("first", 1))
EXTREME = (0, 1, -1, -(1 << 31), (1 << 31) - 1)


def pack(values, bits):
    return sum((int(value) & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))


def pack_tile(tile):
    word, at = 0, 0
    for name, bits in (("kind", 2), ("row_tile", HW.row_bits), ("word", 16), ("half", 1), ("first", 1)):
        word |= tile[name] << at
        at += bits
    return word


def unpack(value, fields):
    out = {}
    for name, bits in fields:
        out[name] = value & ((1 << bits) - 1)
        value >>= bits
    return out


def parameter_words(rng, bias, mult, shift):
    """Byte b of channel c is lane b % K of word b div K; a word is [channel][lane]. The rest is noise."""
    words = rng.integers(0, 256, (PK, C, K))
    for c in range(C):
        data = int(bias[c]).to_bytes(4, "little", signed=True) + int(mult[c]).to_bytes(2, "little")
        for b, byte in enumerate(data + bytes([int(shift[c])])):
            words[b // K, c, b % K] = byte
    return [pack(word.reshape(-1), 8) for word in words]


def random_accumulators(rng):
    values = rng.integers(-(1 << 31), 1 << 31, (T, C))
    return np.where(rng.random((T, C)) < 0.3, rng.choice(EXTREME, (T, C)), values)


def random_instruction(rng, kind):
    rows = int(rng.integers(1, HW.max_tokens + 1))
    if kind == "attention":
        f = {"row_end": rows, "score_mult": int(rng.integers(1 << 16)), "score_shift": int(rng.integers(48)),
             "out_mult": int(rng.integers(1 << 16)), "out_shift": int(rng.integers(48))}  # fmt: skip
        return Op.ATTENTION, f, rows
    if kind == "plain":
        return Op.MATMUL, {"row_begin": int(rng.integers(rows)), "row_end": rows}, rows
    f = {"use_queue": 1, "expert": int(rng.integers(HW.max_experts)), "scatter": int(kind == "scatter")}
    return Op.MATMUL, f, rows


def tiles_of(rng, op, f, rows):
    begin, end = f.get("row_begin", 0) // T, -(-rows // T)
    word = int(rng.integers(1 << 10))
    if op == Op.MATMUL:
        for tile in range(int(rng.integers(1, 5))):
            for row_tile in range(begin, end):
                first = int(row_tile == begin)
                yield {"kind": MATMUL, "row_tile": row_tile, "word": word + tile, "half": 0, "first": first}
        return
    for query in range(begin, end):
        for key in range(int(rng.integers(1, 3))):
            yield {"kind": SCORE, "row_tile": query, "word": key, "half": query % 2, "first": int(key == 0)}
        for tile in range(int(rng.integers(1, 4))):
            yield {"kind": CONTEXT, "row_tile": query, "word": word + tile, "half": query % 2, "first": int(tile == 0)}


class Schedule:
    """Inputs by cycle and the rows that must come out: {cycle: expected}."""

    def __init__(self, rng):
        self.rng = rng
        self.captures, self.params, self.factors, self.expected = {}, {}, {}, {}

    def instruction(self, cycle, op, f, rows, queue):
        """Tiles from `cycle` on; returns the cycle after which the instruction is over."""
        rng, hurried = self.rng, self.rng.integers(2)
        loadable = cycle  # parameter words may come from here on
        gap = 0
        bias = mult = shift = factors = None
        for tile in tiles_of(rng, op, f, rows):
            cycle += gap + (0 if hurried else int(rng.integers(0, 4)))
            fresh = tile["kind"] == MATMUL and tile["first"]
            if fresh:
                bias = np.where(rng.random(C) < 0.3, rng.choice(EXTREME, C), rng.integers(-(1 << 31), 1 << 31, C))
                mult = np.where(rng.random(C) < 0.3, (1 << 16) - 1, rng.integers(0, 1 << 16, C))
                shift = rng.integers(0, 48, C)
                cycle = max(cycle, loadable + PK)
                at = loadable + int(rng.integers(cycle - loadable - PK + 1))
                for index, word in enumerate(parameter_words(rng, bias, mult, shift)):
                    self.params[at + index] = (index, word)
                loadable = cycle + 3
            held = tile["kind"] == CONTEXT and tile["first"]
            begin = cycle + HOLD * held
            if held:
                factors = rng.integers(0, 1 << 17, T)
                for slot in range(T):
                    self.factors.setdefault(cycle, []).append((slot, int(rng.integers(1 << 17))))
                    self.factors.setdefault(begin + slot, []).append((slot, int(factors[slot])))
            accumulators = random_accumulators(rng)
            self.captures[cycle] = (tile, accumulators)
            for slot in range(T):
                row = tile["row_tile"] * T + slot
                if not f.get("row_begin", 0) <= row < rows:
                    continue
                wanted = {
                    "out_acc": pack(accumulators[slot], 32),
                    "row": {"kind": tile["kind"], "row": row, "slot": slot, "word": tile["word"]},
                    "use_factor": 0,
                }
                if tile["kind"] == MATMUL:
                    wanted |= {"bias": pack(bias, 32), "mult": pack(mult, 16), "shift": pack(shift, 6)}
                    if f.get("scatter"):
                        token, weight = queue[row]
                        wanted["row"]["row"] = token
                        wanted |= {"use_factor": 1, "factor": weight}
                else:
                    name = "score" if tile["kind"] == SCORE else "out"
                    wanted |= {"bias": 0, "mult": pack([f[f"{name}_mult"]] * C, 16)}
                    wanted |= {"shift": pack([f[f"{name}_shift"]] * C, 6)}
                if tile["kind"] == SCORE:
                    wanted["row"] |= {"half": tile["half"], "first": tile["first"]}
                if tile["kind"] == CONTEXT:
                    wanted |= {"use_factor": 1, "factor": int(factors[slot])}
                self.expected[begin + slot + LATENCY] = wanted
            gap = begin - cycle + T
        return cycle + gap + LATENCY + 1


def check_row(port, wanted):
    for name, value in wanted.items():
        if name == "row":
            got = unpack(port("out_row"), ROW_FIELDS)
            got, value = {key: got[key] for key in value}, dict(value)
        else:
            got = port(name)
        assert got == value, f"{name}: {got} instead of {value} in {wanted['row']}"


@cocotb.test()
async def tiles(dut):
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
    drive(instruction=0, rows=0, captured=0, param_en=0)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0

    factors = rng.integers(0, 1 << 17, T)
    shadow, asked = [], None
    for trial in range(60):
        op, f, rows = random_instruction(rng, ("plain", "attention", "scatter", "queue")[trial % 4])
        weights = rng.integers(0, 65537, HW.max_tokens)
        queue = [(int(token), int(weight)) for token, weight in zip(rng.permutation(HW.max_tokens), weights)]
        plan = Schedule(rng)
        end = plan.instruction(int(rng.integers(3)), op, f, rows, queue)
        word = int.from_bytes(encode(op, **f), "little")
        for cycle in range(end):
            await RisingEdge(dut.clk)
            drive(instruction=word, rows=rows, captured=0, param_en=0, tile=int(rng.integers(1 << 20)))
            drive(param_data=noise(8 * C * K))
            if cycle in plan.captures:
                assert len(shadow) == 0, "rows of the tile before are lost"
                tile, accumulators = plan.captures[cycle]
                shadow = [pack(values, 32) for values in accumulators]
                drive(captured=1, tile=pack_tile(tile))
            if cycle in plan.params:
                index, data = plan.params[cycle]
                drive(param_en=1, param_data=data)
                if PK > 1:
                    drive(param_index=index)
            for slot, factor in plan.factors.get(cycle, ()):
                factors[slot] = factor
            token, weight = (int(v) for v in rng.integers(0, (1 << HW.row_bits, 1 << 17))) if asked is None else asked
            drive(acc=shadow[0] if shadow else noise(32 * C), q_token=token, q_weight=weight)
            await ReadWrite()
            drive(softmax_factor=int(factors[port("factor_row")]))
            await ReadOnly()
            asked = None
            if port("q_en"):
                index = port("q_index")
                asked = queue[index] if index < rows else None
            if port("shift_rows"):
                assert shadow, "shifted beyond the last row"
                shadow = shadow[1:]
            assert port("out_valid") == (cycle in plan.expected), f"cycle {cycle} of {op.name} {f}"
            if cycle in plan.expected:
                check_row(port, plan.expected[cycle])
        assert not shadow
