"""cocotb bench of StoreUnit: rows of X and Y from memories two cycles away, to a stream that stalls at random."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from tests.rtl.ports import Ports, pack, reset

SHAPES = json.loads(os.environ.get("HWGEN_PARAMETERS", '{"shapes": {"": {}}}'))["shapes"]
FIELDS = ("a_base", "a_stride", "row_begin", "row_end", "tiles")
ZEROS = dict.fromkeys(("start", "from_y", "abort", "x__data", "y__data", "beats__ready", *FIELDS), 0)


class Bench:
    def __init__(self, dut, name):
        self.dut, self.ports, self.shape = dut, Ports(dut, f"{name}_"), SHAPES[name]
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        t, c, parts = (self.shape[key] for key in ("t", "c", "parts"))
        self.x = self.rng.integers(-32768, 32768, (self.shape["x"], c)).astype("<i2")
        self.y = self.rng.integers(-255, 256, (t, self.shape["y"], parts, c))
        self.y[:, :, :, 0], self.y[:, :, :, -1] = -255, 255
        self.x[:, -1] = -32768
        self.reads = 0

    async def start(self):
        await reset(self.dut, *(Ports(self.dut, f"{name}_") for name in SHAPES), **ZEROS)
        cocotb.start_soon(self.memories())
        return self

    async def memories(self):
        """X and Y, READ_LATENCY = 2: request in cycle i, data at the edge that ends cycle i + 2, else garbage."""
        ports, later = self.ports, []
        while True:
            await RisingEdge(self.dut.clk)
            later.append(None)
            if ports.get("x__en"):
                later[-1] = {"x__data": pack(self.x[ports.get("x__addr")], 16)}
                assert not ports.get("y__en")
            elif ports.get("y__en"):
                sub = ports.get("y__sub") if self.shape["parts"] > 1 else 0
                later[-1] = {"y__data": pack(self.y[ports.get("y__bank"), ports.get("y__addr"), sub], 9)}
            self.reads += later[-1] is not None
            ports.set(x__data=int(self.rng.integers(1 << 62)), y__data=int(self.rng.integers(1 << 30)))
            if len(later) == 2:
                due = later.pop(0)
                if due:
                    ports.set(**due)

    def command(self, from_y):
        """Random operands, and the bytes they mean (docs/architecture.md, Buffers)."""
        rng, shape = self.rng, self.shape
        t, parts = shape["t"], shape["parts"]
        tiles = int(rng.integers(1, 8))
        row_begin = int(rng.integers(0, 6))
        row_end = row_begin + int(rng.integers(1, 14))
        rows = range(row_begin, row_end)
        least = -(-tiles // parts) if from_y else tiles
        stride = least + int(rng.integers(0, 3))
        used = ((row_end - 1) // t if from_y else row_end - 1) * stride + least
        base = int(rng.integers(0, (shape["y"] if from_y else shape["x"]) - used + 1))
        if from_y:
            data = [self.y[r % t, base + r // t * stride + j // parts, j % parts] for r in rows for j in range(tiles)]
        else:
            data = [self.x[base + r * stride + j] for r in rows for j in range(tiles)]
        base += (row_begin // t if from_y else row_begin) * stride
        fields = dict(zip(FIELDS, (base, stride, row_begin, row_end, tiles), strict=True))
        return fields, np.concatenate(data).astype("<i2").tobytes()

    async def run(self, from_y, stall):
        ports, beat = self.ports, self.shape["beat"]
        fields, wanted = self.command(from_y)
        ports.set(start=1, from_y=from_y, **fields)
        await RisingEdge(self.dut.clk)
        ports.set(start=0)
        got, cycles, done, held = bytearray(), [], False, None
        for cycle in range(100000):
            ready = int(self.rng.random() >= stall)
            ports.set(beats__ready=ready)
            await RisingEdge(self.dut.clk)
            done = ports.get("done")
            assert done == (len(cycles) > 0 and len(got) == len(wanted)), "done comes right after the last beat"
            if done:
                break
            assert ports.get("busy")
            if ports.get("beats__valid"):
                payload = ports.get("beats__payload").to_bytes(beat + -(-beat // 8), "little")
                strobe, data = int.from_bytes(payload[beat:], "little"), payload[:beat]
                count = strobe.bit_count()
                assert strobe == (1 << count) - 1
                now = data[:count]
                assert held in (None, now), "beat changed while it waited"
                held = now
                if ready:
                    got += now
                    held = None
                    cycles.append(cycle)
                    last = len(got) == len(wanted)
                    assert ports.get("last") == last
                    assert count == beat or last
        assert bytes(got) == wanted
        await RisingEdge(self.dut.clk)
        assert not ports.get("busy") and not ports.get("done")
        return len(cycles), cycles[-1] - cycles[0] + 1, len(wanted) // (2 * self.shape["c"])


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES), from_y=[0, 1], stall=[0.0, 0.3, 0.8])
async def random_rows(dut, name, from_y, stall):
    bench = await Bench(dut, name).start()
    for _ in range(8):
        beats, cycles, words = await bench.run(from_y, stall)
        if stall == 0.0:  # a word or a beat per cycle, whatever is narrower
            per_beat = max(1, bench.shape["beat"] // (2 * bench.shape["c"]))
            assert cycles <= (beats - 1) * per_beat + 1 and cycles <= max(words, beats)


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
async def abort_and_restart(dut, name):
    bench = await Bench(dut, name).start()
    for _ in range(8):
        fields, _ = bench.command(1)
        bench.ports.set(start=1, from_y=1, beats__ready=int(bench.rng.integers(2)), **fields)
        await RisingEdge(dut.clk)
        bench.ports.set(start=0)
        await ClockCycles(dut.clk, int(bench.rng.integers(1, 15)))
        bench.ports.set(abort=1)
        await RisingEdge(dut.clk)
        bench.ports.set(abort=0)
        await RisingEdge(dut.clk)
        for _ in range(5):
            await RisingEdge(dut.clk)
            for name in ("beats__valid", "busy", "done", "x__en", "y__en"):
                assert not bench.ports.get(name), name
        await bench.run(int(bench.rng.integers(2)), 0.3)
