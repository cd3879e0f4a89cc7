"""cocotb bench of the drain: tiles as close together as the issuer allows, every row with its parameters and factor.

The stimulus is made cycle by cycle beforehand: instructions (up to four at a time), captures, parameter words and row
factors, the latter two as late and as early as the issuer and the softmax unit promise. The shadow rows and the
router's queue memory are played by the bench.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, ReadWrite, RisingEdge

from hwgen.machine.isa import Dest, Op, encode
from hwgen.machine.params import HwParams
from tests.rtl.ports import Ports, noise, pack, pack_fields, reset, unpack_fields

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
T, C, K, W, PK = HW.t, HW.c, HW.k, HW.word, HW.param_words
HOLD, LATENCY, ARRAY = (P.get(name, 0) for name in ("hold", "latency", "array"))
CONTEXTS = 4
MATMUL, SCORE, CONTEXT = range(3)
INT8, INT16, INT24, OPERAND, ACTIVATION = range(5)
TILE_FIELDS = (("kind", 2), ("context", 2), ("row_tile", HW.row_bits), ("word", 16), ("half", 1), ("first", 1))
ROW_FIELDS = (
    ("kind", 2), ("row", HW.row_bits), ("slot", T.bit_length() - 1), ("word", 16), ("half", 1), ("first", 1),
    ("dest", 4), ("d_base", 16), ("d_stride", 16), ("x_shift", 2), *[("gated", 1)] * HW.gated_mlp,
    ("key_begin", W.bit_length() - 1), ("key_end", HW.row_bits + 1),
)  # fmt: skip
EXTREME = (0, 1, -1, -(1 << 31), (1 << 31) - 1)


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
    begin = int(rng.integers(rows))
    f = {"d_base": int(rng.integers(1 << 16)), "d_stride": int(rng.integers(1 << 16))}
    if kind == "attention":
        f |= {"score_mult": int(rng.integers(1 << 16)), "score_shift": int(rng.integers(48)), "row_begin": begin,
              "out_mult": int(rng.integers(1 << 16)), "out_shift": int(rng.integers(48)), "row_end": rows}  # fmt: skip
        return Op.ATTENTION, f, rows
    f |= {"dest": int(rng.choice(list(Dest)[:7])), "activate": int(rng.integers(2))}
    f |= {"act_mult": int(rng.integers(1 << 16)), "act_shift": int(rng.integers(32))}
    f |= {"act_zero": int(rng.integers(1 << 12)), "x_shift": int(rng.integers(4))}
    f |= {"gated": int(rng.integers(2))} if HW.gated_mlp else {}
    if kind == "plain":
        return Op.MATMUL, f | {"row_begin": begin, "row_end": rows}, rows
    f |= {"use_queue": 1, "expert": int(rng.integers(HW.max_experts)), "scatter": int(kind == "scatter")}
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


def mode_of(kind, f):
    """Of the post-processing."""
    if kind != MATMUL:
        return INT16 if kind == SCORE else OPERAND
    if f["activate"]:
        return ACTIVATION
    return {Dest.Y: OPERAND, Dest.H: OPERAND, Dest.K: INT8, Dest.V: INT8, Dest.LOGITS: INT24}.get(f["dest"], INT16)


class Schedule:
    """Inputs by cycle and what must come out: `expected` rows, queue look-ups (`asked`, and when there may be any)."""

    def __init__(self, rng):
        self.rng = rng
        self.starts, self.captures, self.params, self.factors = {}, {}, {}, {}
        self.expected, self.asked, self.may_ask = {}, {}, set()
        self.queues = [
            list(zip(rng.integers(0, HW.max_tokens, HW.max_tokens), rng.integers(0, 65537, HW.max_tokens)))
            for _ in range(HW.max_experts)
        ]
        self.captured, self.loaded, self.started, self.ends = -T, 0, -1, []
        self.parameters = None

    def add(self, instructions):
        """Instructions one behind the other; two neighbours' tiles mix if they can."""
        todo = [(*instruction, list(tiles_of(self.rng, *instruction))) for instruction in instructions]
        index = 0
        while index < len(todo):
            group = [todo[index]]
            alone = [op == Op.ATTENTION or all(tile["first"] for tile in tiles) for op, _, _, tiles in todo]
            if all(alone[index : index + 2]) and self.rng.integers(2):
                group = todo[index : index + 2]
            turns = self.rng.permutation([i for i, member in enumerate(group) for _ in member[3]]).tolist()
            starts = {}
            for turn in turns:
                for i in range(len(starts), turn + 1):
                    starts[i] = self.start(index + i, *group[i][:3])
                _, f, rows, tiles = group[turn]
                self.tile(index + turn, starts[turn], f, rows, tiles.pop(0))
            index += len(group)

    def start(self, number, op, f, rows):
        """The earliest time, or a later one: well before the first tile, not before the fourth last is finished."""
        earliest = max(self.started + 1, self.ends[number - CONTEXTS] + 3 if number >= CONTEXTS else 0)
        cycle = max(earliest, self.captured - int(self.rng.integers(40))) if self.rng.integers(2) else earliest
        self.starts[cycle] = (int.from_bytes(encode(op, **f), "little"), rows)
        self.started = cycle
        self.ends.append(cycle)
        return cycle

    def tile(self, number, start, f, rows, tile):
        rng = self.rng
        cycle = max(self.captured + T, start + 5) + int(rng.choice([0, 0, 0, rng.integers(12)]))
        if tile["kind"] == MATMUL and tile["first"]:
            bias = np.where(rng.random(C) < 0.3, rng.choice(EXTREME, C), rng.integers(-(1 << 31), 1 << 31, C))
            mult = np.where(rng.random(C) < 0.3, (1 << 16) - 1, rng.integers(0, 1 << 16, C))
            shift = rng.integers(0, 48, C)
            self.parameters = {"bias": pack(bias, 32), "mult": pack(mult, 16), "shift": pack(shift, 6)}
            # Behind the last step of the tile before, in front of the first of this one.
            at = max(self.captured - ARRAY, self.loaded, start + 4)
            trickle = int(rng.choice([1, 1, 9]))
            for index, word in reversed(list(enumerate(parameter_words(rng, bias, mult, shift)))):
                at += int(rng.integers(1, trickle + 1))
                self.params[at] = (index, word)
            self.loaded = at
            cycle = max(cycle, at + 1 + ARRAY)
        begin = cycle + HOLD
        if tile["kind"] == CONTEXT and tile["first"]:
            self.row_factors = rng.integers(0, 1 << 17, T)
            for slot in range(T):
                self.factors.setdefault(begin + slot - 1, []).append((slot, int(rng.integers(1 << 17))))
                self.factors.setdefault(begin + slot, []).append((slot, int(self.row_factors[slot])))
        accumulators = random_accumulators(rng)
        self.captures[cycle] = (pack_fields(tile | {"context": number % CONTEXTS}, TILE_FIELDS), accumulators)
        for slot in range(T):
            row = tile["row_tile"] * T + slot
            if f.get("scatter"):
                self.may_ask.add(begin + slot)
            if f.get("row_begin", 0) <= row < rows:
                wanted = self.row(f, rows, tile, row, slot, begin + slot)
                self.expected[begin + slot + LATENCY] = wanted | {"acc": pack(accumulators[slot], 32)}
        self.captured, self.ends[number] = cycle, begin + T - 1

    def row(self, f, rows, tile, row, slot, cycle):
        """What must come out for a row, but for its sums; a scattered row's token and weight are looked up."""
        kind = tile["kind"]
        out = {"kind": kind, "row": row, "slot": slot, "word": tile["word"]}
        out |= {"d_base": f["d_base"], "d_stride": f["d_stride"]}
        wanted = {"row": out, "use_factor": 0, "mode": mode_of(kind, f)}
        if HW.gated_mlp:
            wanted["gated"] = out["gated"] = int(kind == MATMUL and f["gated"])
        if kind == MATMUL:
            out |= {"dest": f["dest"], "x_shift": f["x_shift"]}
            wanted |= self.parameters | {name: f[name] for name in ("act_mult", "act_shift", "act_zero")}
            if f.get("scatter"):
                self.asked[cycle] = (f["expert"], row)
                out["row"], weight = (int(value) for value in self.queues[f["expert"]][row])
                wanted |= {"use_factor": 1, "factor": weight}
        else:
            name = "score" if kind == SCORE else "out"
            wanted |= {"bias": 0, "mult": pack([f[f"{name}_mult"]] * C, 16)}
            wanted |= {"shift": pack([f[f"{name}_shift"]] * C, 6)}
        if kind == SCORE:
            begin = f["row_begin"] % W
            out |= {"half": tile["half"], "first": tile["first"]}
            out |= {"key_begin": begin, "key_end": rows - f["row_begin"] + begin}
        if kind == CONTEXT:
            out["dest"] = Dest.Y
            wanted |= {"use_factor": 1, "factor": int(self.row_factors[slot])}
        return wanted


def check_row(port, wanted):
    for name, value in wanted.items():
        if name == "row":
            got = unpack_fields(port("out__row"), ROW_FIELDS)
            got, value = {key: got[key] for key in value}, dict(value)
        else:
            got = port(f"post__{name}")
        assert got == value, f"{name}: {got} instead of {value} in {wanted['row']}"


async def play(dut, instructions):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    ports = Ports(dut, f"{P['part']}_")
    drive, port = ports.set, ports.get
    await reset(dut, ports, start=0, instruction=0, rows=0, capturing=0, param_en=0)

    plan = Schedule(rng)
    plan.add(instructions(rng))
    factors = rng.integers(0, 1 << 17, T)
    shadow, asked, shifted = [], None, False
    for cycle in range(max(plan.captures) + HOLD + T + LATENCY + 2):
        await RisingEdge(dut.clk)
        drive(capturing=cycle + 1 in plan.captures, param_en=cycle in plan.params, param_data=noise(rng, 8 * C * K))
        drive(start=cycle in plan.starts, tile=noise(rng, sum(bits for _, bits in TILE_FIELDS)))
        word, rows = plan.starts.get(cycle, (noise(rng, 512), noise(rng, 16)))
        drive(instruction=word, rows=rows)
        if cycle in plan.captures:
            assert not shadow, "rows of the tile before are lost"
            tile, accumulators = plan.captures[cycle]
            shadow = [pack(values, 32) for values in accumulators]
            drive(tile=tile)
        index, data = plan.params.get(cycle, (noise(rng, 8) % PK, noise(rng, 8 * C * K)))
        drive(param_index=index, param_data=data)
        for slot, factor in plan.factors.get(cycle, ()):
            factors[slot] = factor
        token, weight = asked or (noise(rng, HW.row_bits), noise(rng, 17))
        drive(acc=shadow[0] if shadow else noise(rng, 32 * C), queue__token=token, queue__weight=weight)
        await ReadWrite()
        drive(factors__factor=int(factors[port("factors__row")]))
        await ReadOnly()
        asked = None
        if port("queue__en"):
            assert cycle in plan.may_ask, "a look-up that keeps the mover from the queues for nothing"
            index = port("queue__index")
            if cycle in plan.asked:
                assert (port("queue__expert"), index) == plan.asked[cycle]
                asked = tuple(int(value) for value in plan.queues[port("queue__expert")][index])
        if shifted:
            assert shadow, "shifted beyond the last row"
            shadow = shadow[1:]
        shifted = port("shift_rows")
        assert port("out__valid") == port("post__valid") == (cycle in plan.expected), f"cycle {cycle}"
        if cycle in plan.expected:
            check_row(port, plan.expected[cycle])
    assert not shadow


@cocotb.test()
async def mixed(dut):
    kinds = ("plain", "attention", "scatter", "queue")
    await play(dut, lambda rng: [random_instruction(rng, kinds[rng.integers(4)]) for _ in range(80)])


@cocotb.test()
async def fresh(dut):
    """A single row tile: every tile brings parameters, as many under way as there can be."""

    def instructions(rng):
        for _ in range(60):
            op, f, _ = random_instruction(rng, "plain")
            yield op, f | {"row_begin": 0, "row_end": 1}, 1

    await play(dut, instructions)
