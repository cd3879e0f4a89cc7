"""cocotb bench of the issuer: every step against the loops of docs/architecture.md, and the promises made to others.

A run records all outputs by cycle; the checks come afterwards. A step is decided `lead` cycles before the array has it.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.isa import Dest, Op, Source, encode
from hwgen.params import HwParams

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
T, C, K, PK = HW.t, HW.c, HW.k, HW.param_words
PART = HW.word // K  # parts of a word of A
LEAD, ARRAY, HOLD, SCORE_SETTLE, SETTLE = (
    P.get("timing", {}).get(name, 0) for name in ("lead", "array_latency", "hold", "score_settle", "settle")
)
MATMUL, SCORE, CONTEXT = range(3)
OUTPUTS = (
    "done", "ring_en", "ring_index", "ring_pop", "ring_pop_count", "y_en", "h_en", "a_addr", "a_sub", "k_en", "k_addr",
    "k_sub", "v_en", "v_addr", "s_en", "s_half", "s_step", "s_sum", "s_first", "s_last", "step_valid", "step_first",
    "step_last", "kind", "from_h", "tile", "param_en", "param_index", "stall_weights", "stall_drain",
)  # fmt: skip
WIDTHLESS = {name for name in ("a_sub", "k_sub") if PART == 1} | ({"param_index"} if PK == 1 else set())


def unpack_tile(value):
    fields = {}
    for name, bits in (("kind", 2), ("row_tile", HW.row_bits), ("word", 16), ("half", 1), ("first", 1)):
        fields[name] = value & ((1 << bits) - 1)
        value >>= bits
    return fields


def matmul_steps(f, rows):
    """Parameter words (`param`) and steps in order; `word` counts in the weight stream of the instruction."""
    words = PK + f["k_steps"]
    first = f["row_begin"] // T
    for tile in range(f["tiles"]):
        yield from ({"param": i, "word": tile * words + i} for i in range(PK))
        for row_tile in range(first, -(-rows // T)):
            for s in range(f["k_steps"]):
                yield {
                    "kind": MATMUL,
                    "a": (f["source"], f["a_base"] + row_tile * f["a_stride"] + s // PART, s % PART),
                    "word": tile * words + PK + s,
                    "first": s == 0,
                    "last": s == f["k_steps"] - 1,
                    "tile": {"row_tile": row_tile, "word": f["d_word"] + tile, "first": row_tile == first},
                }


def attention_steps(f, rows):
    def scores(query):
        for key_tile in range(f["key_tiles"]):
            for s in range(f["k_steps"]):
                yield {
                    "kind": SCORE,
                    "query": query,
                    "a": (Source.H, f["a_base"] + query * f["a_stride"] + s // PART, s % PART),
                    "k": (f["k_base"] + key_tile * f["k_stride"] + s // PART, s % PART),
                    "first": s == 0,
                    "last": s == f["k_steps"] - 1,
                    "tile": {"row_tile": query, "word": key_tile, "half": query % 2, "first": key_tile == 0},
                }

    def context(query):
        for tile in range(f["tiles"]):
            for s in range(f["pv_steps"]):
                last = s == f["pv_steps"] - 1
                yield {
                    "kind": CONTEXT,
                    "query": query,
                    "v": f["v_base"] + s * f["v_stride"] + tile,
                    "s": (query % 2, s, tile == 0, s == 0, last and tile == 0),
                    "first": s == 0,
                    "last": last,
                    "tile": {"row_tile": query, "word": f["d_word"] + tile, "half": query % 2, "first": tile == 0},
                }

    # The scores of the next query tile are computed before the context of this one: softmax has time meanwhile.
    count = -(-rows // T)
    yield from scores(0)
    for query in range(count):
        if query + 1 < count:
            yield from scores(query + 1)
        yield from context(query)


class Ring:
    """Level, base and supply of the weight ring as `WeightFetch` does it; `supply` words are still to come."""

    def __init__(self, rng):
        self.rng, self.level, self.base, self.supply, self.style = rng, 0, 0, 0, 0

    def next(self, popped):
        self.level -= popped
        self.base += popped
        room = min(HW.weight_depth - self.level, self.supply)
        add = (
            min(room, 1 << 20),  # always as full as it can be
            min(room, int(self.rng.random() < 0.3)),  # trickle
            room if self.rng.random() < 0.04 else 0,  # bursts with long pauses
            min(room, 1),  # as fast as the array
        )[self.style]
        self.level += add
        self.supply -= add


def random_matmul(rng, trial):
    use_queue = trial % 3 == 2
    row_end = int(rng.integers(1, HW.max_tokens + 1))
    row_begin = 0 if use_queue or trial % 2 else int(rng.integers(0, row_end))
    if trial == 0:
        row_begin, row_end = T + 1, T + 2  # one row tile
    f = {
        "dest": int(rng.choice([Dest.Y, Dest.K, Dest.V, Dest.X_ADD])),
        "source": int(rng.integers(2)),
        "a_base": int(rng.integers(1 << 12)),
        "a_stride": int(rng.integers(1, 300)),
        "row_begin": row_begin,
        "row_end": 0 if use_queue else row_end,
        "k_steps": 1 if trial in (0, 1) else int(rng.integers(1, HW.weight_depth - PK + 1)),
        "tiles": int(rng.integers(1, 5)),
        "d_word": int(rng.integers(100)),
        "use_queue": int(use_queue),
        "scatter": int(use_queue and rng.integers(2)),
    }
    return Op.MATMUL, f, row_end


def random_attention(rng, trial):
    rows = (trial % 5) * T + 1 + int(rng.integers(T))
    f = {name: int(rng.integers(1 << 12)) for name in ("a_base", "k_base", "v_base")}
    f |= {name: int(rng.integers(1, 200)) for name in ("a_stride", "k_stride", "v_stride")}
    f |= {
        "row_end": rows,
        "k_steps": int(rng.integers(1, 5)),
        "tiles": 1 if trial < 3 else int(rng.integers(1, 4)),
        "d_word": int(rng.integers(50)),
        "key_tiles": -(-rows // C),
        "pv_steps": -(-rows // K),
    }
    return Op.ATTENTION, f, rows


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)
        self.ring, self.trace, self.popped = Ring(self.rng), [], 0
        self.ports = {name: getattr(dut, f"{P['part']}_{name}") for name in OUTPUTS if name not in WIDTHLESS}

    def drive(self, **values):
        for name, value in values.items():
            getattr(self.dut, f"{P['part']}_{name}").value = value

    async def cycle(self, rst=0, **values):
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = rst
        self.ring.next(self.popped)
        self.drive(ring_level=self.ring.level, **values)
        await ReadOnly()
        now = dict.fromkeys(WIDTHLESS, 0) | {name: int(port.value) for name, port in self.ports.items()}
        now |= {"level": self.ring.level, "base": self.ring.base}
        self.popped = now["ring_pop_count"] if now["ring_pop"] else 0
        assert self.popped <= self.ring.level, "popped more words than there are"
        assert not now["ring_en"] or now["ring_index"] < self.ring.level, "read a word that is not in the ring"
        self.trace.append(now)
        return now

    async def reset(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        self.dut.rst.value = 1
        for _ in range(3):
            await self.cycle(rst=1, start=0, instruction=0, rows=0)
        await self.cycle()

    async def run(self, op, f, rows, *, more_words):
        """One instruction; returns its trace from `start` to `done` and the base of the ring at the start."""
        base = self.ring.base
        steps = list(matmul_steps(f, rows) if op == Op.MATMUL else attention_steps(f, rows))
        if op == Op.MATMUL:
            missing = f["tiles"] * (PK + f["k_steps"]) - self.ring.level - self.ring.supply
            self.ring.supply += max(0, missing) + more_words
        word = int.from_bytes(encode(op, **f), "little")
        begin = len(self.trace)
        await self.cycle(start=1, instruction=word, rows=rows)
        limit = 200 * len(steps) + 2000
        for _ in range(limit):
            await self.cycle(start=0)
            if self.trace[-1]["done"]:
                break
        else:
            raise AssertionError(f"{op.name} {f} is not done after {limit} cycles")
        return steps, self.trace[begin:], base


def check_steps(op, f, steps, trace, base):
    """All steps and parameter words in order, with their reads in the right cycle and none beside."""
    at = []  # cycle of each step or parameter word at the array
    for cycle, now in enumerate(trace):
        assert not (now["step_valid"] and now["param_en"])
        assert not (now["stall_weights"] and now["stall_drain"])
        if now["step_valid"] or now["param_en"]:
            at.append(cycle)
    assert len(at) == len(steps), f"{len(at)} steps instead of {len(steps)} in {op.name} {f}"
    for cycle, step in zip(at, steps, strict=True):
        now, read, early = trace[cycle], trace[cycle - 2], trace[cycle - LEAD]
        if "param" in step:
            assert now["param_en"] and now["param_index"] == step["param"]
        else:
            assert now["step_valid"]
            assert (now["step_first"], now["step_last"], now["kind"]) == (step["first"], step["last"], step["kind"])
        if "word" in step:
            assert read["ring_en"] and read["base"] + read["ring_index"] == base + step["word"]
        else:
            assert not read["ring_en"]
        if "a" in step:
            source, address, part = step["a"]
            assert (read["y_en"], read["h_en"]) == (source == Source.Y, source == Source.H)
            assert now["from_h"] == (source == Source.H)
            assert (read["a_addr"], read["a_sub"]) == (address & 0xFFFF, part), (f, step)
        else:
            assert not read["y_en"] and not read["h_en"]
        assert read["k_en"] == ("k" in step) and read["v_en"] == ("v" in step) and early["s_en"] == ("s" in step)
        if "k" in step:
            assert (read["k_addr"], read["k_sub"]) == step["k"]
        if "v" in step:
            assert read["v_addr"] == step["v"]
        if "s" in step:
            got = tuple(early[name] for name in ("s_half", "s_step", "s_sum", "s_first", "s_last"))
            if not step["s"][2]:  # s_first and s_last count with s_sum only
                got, expected = got[:3], step["s"][:3]
            else:
                expected = step["s"]
            assert got == expected, step
        if step.get("last"):
            tile = unpack_tile(now["tile"])
            assert tile["kind"] == step["kind"]
            assert all(tile[name] == value for name, value in step["tile"].items()), (tile, step)
    for name in ("y_en", "h_en", "ring_en", "k_en", "v_en", "s_en"):
        expected = {
            "y_en": lambda s: "a" in s and s["a"][0] == Source.Y,
            "h_en": lambda s: "a" in s and s["a"][0] == Source.H,
            "ring_en": lambda s: "word" in s,
        }.get(name, lambda s, key=name[0]: key in s)
        assert sum(now[name] for now in trace) == sum(map(expected, steps)), f"{name} without a step"
    return [cycle - LEAD for cycle in at]


def check_promises(op, steps, decided, trace):
    gap_until, scores_at, first_of_tile = 0, {}, None
    for cycle, step in zip(decided, steps, strict=True):
        if "param" in step:
            # The drain copies the parameters a cycle after the first row tile is captured.
            if first_of_tile is not None:
                assert cycle + LEAD + 1 >= first_of_tile + LEAD + ARRAY + 2, "parameters overwritten before their use"
            continue
        if step["kind"] == CONTEXT and step["first"] and step["tile"]["first"]:
            assert cycle >= scores_at[step["query"]] + SCORE_SETTLE, "scores read before they are written"
        if step["last"]:
            assert cycle >= gap_until, "tiles finished too close together"
            gap_until = cycle + T
            if step["kind"] == CONTEXT and step["tile"]["first"]:
                gap_until += HOLD
            if step["kind"] == SCORE:
                scores_at[step["query"]] = cycle
            if op == Op.MATMUL and step["tile"]["first"]:
                first_of_tile = cycle
    done = len(trace) - 1
    assert [now["done"] for now in trace].count(1) == 1
    assert decided[-1] + SETTLE <= done <= decided[-1] + SETTLE + 4


def check_speed(op, f, rows, decided, full):
    """With weights at hand, nothing but the hazards costs cycles."""
    row_tiles = -(-rows // T) - f.get("row_begin", 0) // T
    if op == Op.MATMUL and full:
        refill = LEAD + 4 if PK + f["k_steps"] > HW.weight_depth // 2 else 0  # popped words come again late
        first = max(f["k_steps"], T)
        tile = max(PK + row_tiles * first, ARRAY + 3 + PK + first) + 4 + refill
        assert decided[-1] - decided[0] <= f["tiles"] * tile
    if op == Op.ATTENTION:
        scores = f["key_tiles"] * max(f["k_steps"], T) + 2
        context = f["tiles"] * max(f["pv_steps"], T) + HOLD + T + 2
        assert decided[-1] - decided[0] <= row_tiles * (scores + context + SCORE_SETTLE)


async def sequence(dut, make, trials):
    bench = Bench(dut)
    await bench.reset()
    for trial in range(trials):
        op, f, rows = make(bench.rng, trial)
        bench.ring.style = trial % 4
        steps, trace, base = await bench.run(op, f, rows, more_words=int(bench.rng.integers(4)) if trial % 2 else 0)
        decided = check_steps(op, f, steps, trace, base)
        check_promises(op, steps, decided, trace)
        check_speed(op, f, rows, decided, full=bench.ring.style == 0)
        total = f["tiles"] * (PK + f["k_steps"]) if op == Op.MATMUL else 0
        assert bench.ring.base + bench.popped == base + total, "not all words of the instruction were popped, or more"
        quiet = bench.rng.integers(0, 4) if trial % 3 else 0
        for _ in range(quiet):
            await bench.cycle(instruction=int(bench.rng.integers(1 << 62)), rows=0)
            assert not any(bench.trace[-1][name] for name in OUTPUTS if name.endswith(("_en", "valid", "done", "pop")))


@cocotb.test()
async def matmul(dut):
    await sequence(dut, random_matmul, 24)


@cocotb.test()
async def attention(dut):
    await sequence(dut, random_attention, 15)


@cocotb.test()
async def mixed(dut):
    await sequence(dut, lambda rng, trial: (random_attention if trial % 2 else random_matmul)(rng, trial + 3), 10)
