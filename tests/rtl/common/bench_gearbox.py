"""cocotb bench of Skid, ShiftQueue and Gearbox: random stalls on both sides, `clear` at any time, rate, stability."""

from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer

from tests.rtl.parts import GEARBOXES, QUEUES, SKID_BITS
from tests.rtl.ports import Ports, reset

IN = ("in_data", "in_last", "in_count")
OUT = ("out_data", "out_last", "out_count")
ZEROS = dict.fromkeys(("clear", "in_valid", "out_ready", "push", "pop", *IN), 0)
#: Chance that there is something to take, and that it is taken.
RATES = [(1.0, 1.0), (0.5, 0.5), (1.0, 0.3), (0.3, 1.0)]


class Stream:
    """One clock at a time through a component with `in_*` and `out_*`; checks that what waits stays."""

    def __init__(self, dut, prefix):
        self.dut, self.ports = dut, Ports(dut, prefix)
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.waiting = None

    async def start(self):
        await reset(self.dut, self.ports, **ZEROS)
        return self

    async def cycle(self, item, rates, clear=False):
        """Offer `item` (None: garbage, not valid); returns whether it was taken, and what came out or None."""
        offered = item is not None and self.rng.random() < rates[0]
        garbage = [int(self.rng.integers(1 << 8)), int(self.rng.integers(2)), 0]
        values = dict(zip(IN, item if offered else garbage)) | {"clear": int(clear)}
        values = {name: value for name, value in values.items() if self.ports.has(name)}  # a skid has no last
        self.ports.set(in_valid=int(offered), out_ready=int(self.rng.random() < rates[1]), **values)
        await RisingEdge(self.dut.clk)  # samples the values before the edge
        valid, ready = self.ports.get("out_valid"), self.ports.get("out_ready")
        now = tuple(self.ports.get(name) for name in OUT if self.ports.has(name)) if valid else None
        assert self.waiting in (None, now), "withdrawn or changed while it waited"
        self.waiting = now if valid and not ready and not clear else None
        return offered and self.ports.get("in_ready") and not clear, now if ready else None


def converted(items, down, up, in_bits, out_bits):
    """What a gearbox makes of (word, last, count): (valid parts as a list, last)."""
    made, parts = [], []
    for word, last, count in items:
        if down > 1:
            kept = [word >> out_bits * part & (1 << out_bits) - 1 for part in range(count + 1)]
            made += [([part], False) for part in kept[:-1]] + [([kept[-1]], bool(last))]
            continue
        parts.append(word)
        if last or len(parts) == up:
            made.append((parts, bool(last)))
            parts = []
    return made


@cocotb.test()
@cocotb.parametrize(name=list(GEARBOXES), rates=RATES)
async def gearbox(dut, name, rates):
    in_bits, out_bits = GEARBOXES[name]
    down, up = max(1, in_bits // out_bits), max(1, out_bits // in_bits)
    stream = await Stream(dut, f"gearbox_{name}_").start()
    rng = stream.rng
    for cleared in range(9):
        items = [
            (int.from_bytes(rng.bytes(in_bits // 8), "little"), int(rng.random() < 0.2),
             int(rng.integers(down)) if rng.random() < 0.5 else down - 1)
            for _ in range(40)
        ]  # fmt: skip
        stop = len(items) if cleared % 3 == 0 else int(rng.integers(len(items)))
        taken, found = [], []
        while len(taken) < stop or (stop == len(items) and len(found) < len(converted(taken, down, up, 0, out_bits))):
            ended, out = await stream.cycle(items[len(taken)] if len(taken) < stop else None, rates)
            taken += items[len(taken) : len(taken) + 1] if ended else []
            if out is not None:
                data, last, count = out
                found.append(([data >> in_bits * part & (1 << min(in_bits, out_bits)) - 1 for part in range(count + 1)],
                              bool(last)))  # fmt: skip
        wanted = converted(taken, down, up, in_bits, out_bits)
        assert found == wanted[: len(found)]
        assert len(found) >= len(wanted) - down  # what is left is in the one word the gearbox holds
        await stream.cycle(items[0], (0.5, 0.5), clear=True)
        assert (await stream.cycle(None, (1, 1)))[1] is None, "there is nothing left"


@cocotb.test()
@cocotb.parametrize(name=list(GEARBOXES))
async def gearbox_at_full_rate(dut, name):
    """As many cycles as the narrower side has words, and one."""
    in_bits, out_bits = GEARBOXES[name]
    down, up = max(1, in_bits // out_bits), max(1, out_bits // in_bits)
    stream = await Stream(dut, f"gearbox_{name}_").start()
    taken = found = cycles = 0
    while found < 40 * down // up:
        ended, out = await stream.cycle((taken, 0, down - 1) if taken < 40 else None, (1, 1))
        taken, found, cycles = taken + bool(ended), found + (out is not None), cycles + 1
    assert cycles == 40 * down + 1


@cocotb.test()
@cocotb.parametrize(rates=RATES)
async def skid(dut, rates):
    stream = await Stream(dut, "skid_").start()
    rng = stream.rng
    sent, inside, cycles, moved = 0, deque(), 0, 0
    for _ in range(800):
        clear = rng.random() < 0.02
        word = int(rng.integers(1 << SKID_BITS))
        ended, out = await stream.cycle((word,), rates, clear)
        if out is not None:
            assert out[0] == inside.popleft()
            moved += 1
        if clear:
            inside.clear()
        elif ended:
            inside.append(word)
            sent += 1
        assert len(inside) <= 2
        cycles += 1
    assert moved > 130
    if rates == (1.0, 1.0):
        assert moved >= cycles - 2 * 40, "a cycle is lost with each clear only"


@cocotb.test()
async def skid_has_no_path_through(dut):
    """Neither side sees in the same cycle what the other does."""
    stream = await Stream(dut, "skid_").start()
    ports = stream.ports
    for _ in range(60):
        await stream.cycle((int(stream.rng.integers(1 << SKID_BITS)),), (0.6, 0.5))
        ports.set(out_ready=0, in_valid=0, in_data=0)
        await Timer(1, "ns")
        before = [ports.get(port) for port in ("in_ready", "out_valid", "out_data")]
        ports.set(out_ready=1, in_valid=1, in_data=(1 << SKID_BITS) - 1)
        await Timer(1, "ns")
        assert [ports.get(port) for port in ("in_ready", "out_valid", "out_data")] == before
        ports.set(out_ready=0, in_valid=0)
        await Timer(1, "ns")


@cocotb.test()
@cocotb.parametrize(name=list(QUEUES), rates=[(0.5, 0.5), (0.8, 0.2), (0.2, 0.8), (1.0, 1.0)])
async def queue(dut, name, rates):
    width, depth = QUEUES[name]
    ports, rng = Ports(dut, f"queue_{name}_"), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut, ports, **ZEROS)
    inside, fullest = deque(), 0
    for _ in range(500):
        clear = rng.random() < 0.02
        push = len(inside) < depth and rng.random() < rates[0]
        pop = len(inside) > 0 and rng.random() < rates[1]
        word = int(rng.integers(1 << width))
        ports.set(clear=int(clear), push=int(push), pop=int(pop), data=word)
        await RisingEdge(dut.clk)  # samples the values before the edge
        assert ports.get("count") == len(inside)
        assert (ports.get("some"), ports.get("full")) == (len(inside) > 0, len(inside) == depth)
        assert not inside or ports.get("head") == inside[0]
        if pop:
            inside.popleft()
        if push:
            inside.append(word)
        if clear:
            inside.clear()
        fullest = max(fullest, len(inside))
    assert fullest == depth or rates[0] != 0.8
