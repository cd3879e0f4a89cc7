"""cocotb bench of Load: every write against the bytes sent, done with the last one, surplus bytes dropped."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from hwgen.machine.tables import ACTIVATION_ENTRIES
from tests.rtl.ports import Ports, reset

SHAPES = json.loads(os.environ.get("HWGEN_PARAMETERS", '{"shapes": {"": {}}}'))["shapes"]
INPUTS = ("start", "to_norm", "to_activation", "bytes", "d_base", "abort", "x_hold", "beats__valid", "beats__payload")
ZEROS = dict.fromkeys(INPUTS, 0)
DESTINATIONS = ("x", "affine", "activation")


class Bench:
    def __init__(self, dut, name):
        self.dut, self.ports = dut, Ports(dut, f"{name}_")
        self.word, self.beat, self.depth = (SHAPES[name][key] for key in ("word", "beat", "depth"))
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.sent = 0

    async def start(self):
        await reset(self.dut, *(Ports(self.dut, f"{name}_") for name in SHAPES), **ZEROS)
        return self

    async def feed(self, data, stall):
        """Beats of `data`, filled up with garbage, and then a beat for nobody that must not be taken."""
        garbage = self.rng.integers(0, 256, -len(data) % self.beat + self.beat, dtype=np.uint8).tobytes()
        data += garbage
        for at in range(0, len(data), self.beat):
            while self.rng.random() < stall:
                self.ports.set(beats__valid=0)
                await RisingEdge(self.dut.clk)
            self.ports.set(beats__valid=1, beats__payload=int.from_bytes(data[at : at + self.beat], "little"))
            await RisingEdge(self.dut.clk)
            while not self.ports.get("beats__ready"):
                await RisingEdge(self.dut.clk)
            self.sent += 1

    async def command(self, words, base, stall, *, port="x", hold=0.0):
        """One command; returns the cycles it took from the first to the last write, those with `x_hold` not counted."""
        data = self.rng.integers(0, 256, words * self.word, dtype=np.uint8).tobytes()
        self.sent = 0
        feeding = cocotb.start_soon(self.feed(data, stall))
        await ClockCycles(self.dut.clk, int(self.rng.integers(0, 3)))
        to_norm, to_activation = int(port == "affine"), int(port == "activation")
        self.ports.set(start=1, to_norm=to_norm, to_activation=to_activation, bytes=len(data), d_base=base)
        await RisingEdge(self.dut.clk)
        self.ports.set(start=0)
        writes, cycles = [], []
        held, holds = 0, 0
        size = 1 if to_activation else self.word
        for cycle in range(100000):
            await RisingEdge(self.dut.clk)
            assert not (held and self.ports.get("x__en")), "a write in the cycle after x_hold"
            assert not any(self.ports.get(f"{other}__en") for other in DESTINATIONS if other != port)
            holds += held and port == "x" and len(writes) > 0
            held = self.ports.get("x_hold")
            self.ports.set(x_hold=int(self.rng.random() < hold))
            if self.ports.get(f"{port}__en"):
                writes.append((self.ports.get(f"{port}__addr"), self.ports.get(f"{port}__data")))
                cycles.append(cycle - holds)
                last = cycle
            if self.ports.get("done"):
                break
            assert self.ports.get("busy") or not writes
        assert cycle == last + (not to_activation), "done after the last write, or with it"
        assert writes == [
            (base + i, int.from_bytes(data[at : at + size], "little")) for i, at in enumerate(range(0, len(data), size))
        ]
        self.ports.set(x_hold=0)
        for _ in range(3):
            await RisingEdge(self.dut.clk)
            assert not any(self.ports.get(name) for name in ("done", *(f"{port}__en" for port in DESTINATIONS)))
        assert not self.ports.get("busy")
        assert self.sent == -(-len(data) // self.beat), "beats taken"
        feeding.cancel()
        return cycles[-1] - cycles[0] + 1


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
async def random_commands(dut, name):
    bench = await Bench(dut, name).start()
    for number in range(24):
        words = int(bench.rng.integers(1, min(bench.depth, 60) + 1))
        port, stall, hold = DESTINATIONS[number % 3], 0.5 * (number >> 1 & 1), (0.0, 0.2, 0.8)[number // 3 % 3]
        top = (1 << 16 if port == "affine" else bench.depth) - words
        base = int(bench.rng.integers(top + 1))
        if port == "activation":
            words, base = ACTIVATION_ENTRIES // bench.word, 0
        await bench.command(words, base, stall, port=port, hold=hold)


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
async def full_rate(dut, name):
    bench = await Bench(dut, name).start()
    words = min(bench.depth, 48)
    cycles = (words - 1) * max(1, bench.word // bench.beat) + 1
    assert await bench.command(words, 0, 0.0) == cycles
    assert await bench.command(words, 0, 0.0, hold=0.5) <= cycles
    assert await bench.command(words, 0, 0.0, port="affine", hold=0.5) == cycles
    table = ACTIVATION_ENTRIES // bench.word
    filled = (table - 1) * (max(1, bench.word // bench.beat) - 1)  # the last byte of a word makes room for one beat
    assert await bench.command(table, 0, 0.0, port="activation", hold=0.5) == ACTIVATION_ENTRIES + filled


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
async def abort_and_restart(dut, name):
    bench = await Bench(dut, name).start()
    for number in range(8):
        feeding = cocotb.start_soon(bench.feed(bytes(20 * bench.word), 0.2))
        bench.ports.set(start=1, to_norm=0, to_activation=number & 1, bytes=20 * bench.word, d_base=3)
        await RisingEdge(dut.clk)
        bench.ports.set(start=0)
        await ClockCycles(dut.clk, int(bench.rng.integers(1, 20)))
        feeding.cancel()
        bench.ports.set(abort=1, beats__valid=0)
        await RisingEdge(dut.clk)
        bench.ports.set(abort=0)
        for _ in range(8):
            await RisingEdge(dut.clk)
            assert not any(bench.ports.get(name) for name in ("x__en", "activation__en", "busy", "done"))
        if number & 2:
            await bench.command(ACTIVATION_ENTRIES // bench.word, 0, 0.3, port="activation")
        await bench.command(9, 1, 0.3)
