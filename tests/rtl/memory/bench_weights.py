"""cocotb bench of WeightFetch: the ring brings the commands' bytes in order; nothing unread is overwritten."""

import json
import os
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, ReadWrite, RisingEdge

from tests.rtl.memory.axi_model import ReadMemory
from tests.rtl.ports import Ports, reset

SHAPES = json.loads(os.environ.get("HWGEN_PARAMETERS", '{"shapes": {"": {}}}'))["shapes"]
STRIPED = [name for name, shape in SHAPES.items() if shape.get("ports", 1) > 1]
ZEROS = dict.fromkeys(
    ("abort", "clear", "clear_bytes", "command__valid", "command__payload",
     "ring__en", "ring__index", "ring__param_en", "ring__param_index", "ring__pop", "ring__pop_count",
     *(f"{name}{port or ''}__{signal}" for port in range(4) for name, signal in (("ar", "ready"), ("r", "valid")))),
    0,
)  # fmt: skip
SIZE = 1 << 16
#: Bytes between the ports' shares, so that each needs an address of its own; a multiple of 64.
APART = 3 * 64
LATENCY = 2


@dataclass(frozen=True)
class Command:
    """`tiles` of parameters and `k_steps` packed words, or (tiles = 0) `size` bytes as they are."""

    address: int
    size: int
    tiles: int = 0
    k_steps: int = 0


class Channels(Ports):
    """Those of one weight port, under the names they have at the first."""

    def __init__(self, dut, prefix, port):
        super().__init__(dut, prefix)
        self.port = port

    def _name(self, name):
        channel, _, signal = name.partition("__")
        return f"{channel}{self.port or ''}__{signal}"

    def get(self, name):
        return super().get(self._name(name))

    def set(self, **values):
        super().set(**{self._name(name): value for name, value in values.items()})


class Fetch:
    """Bench of one part: its ports, memory, and the words its commands should bring.

    Each weight port has a memory of its own with its share; the later ones answer later, if `latency` says nothing."""

    def __init__(self, dut, name, **options):
        self.shape = SHAPES[name]
        self.word, self.beat, self.depth = self.shape["word"], self.shape["beat"], self.shape["depth"]
        self.parameters, self.piece = self.shape["parameters"], min(self.word, self.beat)
        self.dut, self.ports = dut, Ports(dut, f"{name}_")
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.memory = self.rng.integers(0, 256, SIZE, dtype=np.uint8)
        self.count = self.shape["ports"]
        self.part = self.beat // self.count  # of a beat, bytes a port brings
        self.models = []
        for port, share in enumerate(self.memory.reshape(-1, self.count, self.part).swapaxes(0, 1)):
            memory = np.concatenate([self.rng.integers(0, 256, port * APART, dtype=np.uint8), share.ravel()])
            self.models.append(ReadMemory(
                Channels(dut, f"{name}_", port), memory, beat_bytes=self.part, rng=self.rng, max_burst=16,
                **({"stall": 0.2, "latency": (9 * port, 30 + 9 * port)} | options)
            ))  # fmt: skip

    async def start(self):
        await reset(self.dut, *(Ports(self.dut, f"{name}_") for name in SHAPES), **ZEROS)
        self.tasks = [cocotb.start_soon(model.run()) for model in self.models]
        return self

    def stop(self):
        """A memory goes on with what it was asked for, whatever is reset: this one goes away."""
        for task in self.tasks:
            task.cancel()

    def commands(self, count):
        """Every other one narrow, of one to four tiles, now and then of a single step."""
        rng, most = self.rng, min(3 * self.depth, 16384 // self.word)
        made = []
        for number in range(count):
            address = int(rng.integers(0, 600 // self.count)) * 64 * self.count
            if (number + count) % 2:
                made.append(Command(address, int(rng.integers(1, most)) * self.word))
            else:
                k_steps = int(rng.choice([1, 2, rng.integers(1, most)]))
                made.append(self.narrow(address, int(rng.integers(1, 5)), k_steps))
        return made

    def narrow(self, address, tiles, k_steps):
        return Command(address, tiles * (self.parameters * self.word + self.packed(k_steps)), tiles, k_steps)

    def packed(self, k_steps):
        """Bytes of so many words, two pieces in one."""
        return -(-k_steps * self.word // (2 * self.piece)) * self.piece

    def words(self, work):
        """What the commands bring into the ring."""
        result = []
        for command in work:
            data = self.memory[command.address : command.address + command.size]
            if command.tiles:
                tiles = data.reshape(command.tiles, -1)
                data = np.concatenate([self.widened(tile, command.k_steps) for tile in tiles])
            result += [int.from_bytes(word.tobytes(), "little") for word in data.reshape(-1, self.word)]
        return result

    def widened(self, tile, k_steps):
        """A tile's bytes as they should be in the ring."""
        parameters, weights = np.split(tile, [self.parameters * self.word])
        nibbles = [value for piece in weights.reshape(-1, self.piece) for value in (*(piece & 15), *(piece >> 4))]
        signed = [value - 16 if value > 7 else value for value in map(int, nibbles[: k_steps * self.word])]
        return np.concatenate([parameters, np.array(signed, np.int8).view(np.uint8)])

    async def issue(self, work):
        for command in work:
            # Of other commands `k_steps` may be anything.
            k_steps = command.k_steps or int(self.rng.integers(1 << 16))
            first, *others = (command.address // self.count + port * APART for port in range(self.count))
            payload = first | command.size << 64 | (command.tiles > 0) << 96 | k_steps << 97
            payload |= sum(address << 113 + 64 * number for number, address in enumerate(others))
            self.ports.set(command__valid=1, command__payload=payload)
            await RisingEdge(self.dut.clk)
            while not self.ports.get("command__ready"):
                await RisingEdge(self.dut.clk)
        self.ports.set(command__valid=0)

    async def consume(self, wanted, pause):
        """Read at random places below `level` and pop until all of `wanted` has been seen, checking every word.

        `pause`: probability of a cycle without a read; every word is read before it is popped. The parameters' port
        reads in about every other cycle, beside (an odd number of words away) or alone. Returns which ports read at a
        time.
        """
        ports, rng = self.ports, self.rng
        base, seen = 0, 0  # words popped; words of the ring read from the base on
        reads = []  # (cycle due, port, word)
        kinds = set()  # of reads at a time
        cycle = 0
        while base < len(wanted) or reads:
            level = ports.get("level")  # after the last edge's pop
            assert level <= self.depth
            assert base + level <= len(wanted)
            enable = level > 0 and rng.random() >= pause
            index, param_index = (int(rng.integers(self.depth)) for _ in range(2))
            if enable:
                index = seen if seen < level else int(rng.integers(level))
                seen += index == seen
                reads.append((cycle + LATENCY, "ring__data", wanted[base + index]))
            beside = range(1 - index % 2, level, 2) if enable else range(level)
            param = len(beside) > 0 and rng.random() < 0.5
            if param:
                param_index = int(rng.choice(beside))
                reads.append((cycle + LATENCY, "ring__param_data", wanted[base + param_index]))
            kinds.add((enable, param))
            pop = seen > 0 and rng.random() < 0.5
            count = int(rng.integers(1, seen + 1)) if pop else int(rng.integers(self.depth))
            ports.set(ring__en=int(enable), ring__index=index, ring__param_en=int(param), ring__param_index=param_index)
            ports.set(ring__pop=int(pop), ring__pop_count=count)
            if pop:
                base, seen = base + count, seen - count
            await RisingEdge(self.dut.clk)
            # Sampled at the edge that ends a cycle: what a user registers then.
            while reads and reads[0][0] == cycle:
                _, port, word = reads.pop(0)
                assert ports.get(port) == word, f"{port} of the word read in cycle {cycle - LATENCY}"
            cycle += 1
            ports.set(ring__en=0, ring__param_en=0, ring__pop=0)
            await self.settle()
            assert cycle < 200000
        return kinds

    async def settle(self):
        await ReadWrite()


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES), pause=[0.0, 0.7])
async def words_in_order(dut, name, pause):
    fetch = await Fetch(dut, name).start()
    work = fetch.commands(8)
    cocotb.start_soon(fetch.issue(work))
    await fetch.consume(fetch.words(work), pause)
    await ClockCycles(dut.clk, 2)
    assert fetch.ports.get("idle")
    assert fetch.ports.get("level") == 0
    beats = sum(-(-command.size // fetch.beat) for command in work)
    for port, model in enumerate(fetch.models):
        assert fetch.ports.get(f"bytes{port or ''}") == model.beats * fetch.part == beats * fetch.part


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
@cocotb.parametrize(narrow=[False, True])
async def fills_up_and_waits(dut, name, narrow):
    """Nobody reads: exactly `depth` words come in; then all of them can be read, and the rest follows."""
    fetch = await Fetch(dut, name, stall=0.0, latency=(0, 3)).start()
    work = [fetch.narrow(64, 3, fetch.depth) if narrow else Command(64, 3 * fetch.depth * fetch.word)]
    cocotb.start_soon(fetch.issue(work))
    await ClockCycles(dut.clk, 40 + 10 * fetch.depth * max(1, fetch.word // fetch.beat))
    assert fetch.ports.get("level") == fetch.depth
    assert not fetch.ports.get("idle")
    kinds = await fetch.consume(fetch.words(work), 0.3)
    assert kinds == {(False, False), (True, False), (False, True), (True, True)}


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
@cocotb.parametrize(narrow=[False, True])
async def full_rate(dut, name, narrow):
    """A word (or a beat, if smaller; twice a packed one) per cycle, across commands, once the first beat is there."""
    fetch = await Fetch(dut, name, stall=0.0, latency=(10, 10)).start()
    beats_per_word, words = max(1, fetch.word // fetch.beat), max(4 * fetch.beat // fetch.word, 16)
    if narrow:
        work = [fetch.narrow(1024 * i, 2, words) for i in range(8)]
        total = 16 * (fetch.parameters + words)
        cycles = 16 * (fetch.parameters * beats_per_word + words * max(1, fetch.word // fetch.beat // 2))
    else:
        work = [Command(1024 * i, words * fetch.word) for i in range(8)]
        total, cycles = 8 * words, 8 * words * beats_per_word
    cocotb.start_soon(fetch.issue(work))
    ports, seen, first = fetch.ports, 0, None
    for cycle in range(20000):
        await RisingEdge(dut.clk)
        ports.set(ring__pop=0)
        await fetch.settle()
        level = ports.get("level")
        if level:
            first = cycle if first is None else first
            ports.set(ring__pop=1, ring__pop_count=level)
            seen += level
        if seen == total:
            break
    assert seen == total
    assert cycle - first <= cycles - beats_per_word + 1


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
async def abort_clear_restart(dut, name):
    fetch = await Fetch(dut, name).start()
    ports = fetch.ports
    for _ in range(8):
        issuing = cocotb.start_soon(fetch.issue(fetch.commands(4)))
        await ClockCycles(dut.clk, int(fetch.rng.integers(1, 80)))
        issuing.cancel()
        ports.set(abort=1, command__valid=0)
        await RisingEdge(dut.clk)
        for _ in range(1000):
            if ports.get("idle"):
                break
            await RisingEdge(dut.clk)
        assert ports.get("idle"), "beats of a port wait for those of another"
        ports.set(clear=1, clear_bytes=1)
        await RisingEdge(dut.clk)
        ports.set(abort=0, clear=0, clear_bytes=0)
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert ports.get("level") == 0
        assert not any(ports.get(f"bytes{port or ''}") for port in range(fetch.count))
        work = fetch.commands(2)
        cocotb.start_soon(fetch.issue(work))
        await fetch.consume(fetch.words(work), 0.2)


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES))
async def errors_are_reported(dut, name):
    """Of each port at its own bit."""
    for port in range(SHAPES[name]["ports"]):
        for code in (2, 3):
            fetch = await Fetch(dut, name, stall=0.0).start()
            first = 512 // fetch.count + port * APART
            fetch.models[port].errors = {first + 2 * fetch.part: code}
            issuing = cocotb.start_soon(fetch.issue([Command(512, 8 * max(fetch.beat, fetch.word))]))
            seen = []
            for _ in range(200):
                await RisingEdge(dut.clk)
                if fetch.ports.get("error"):
                    seen.append((fetch.ports.get("error"), fetch.ports.get("error_slave") >> port & 1))
            assert seen == [(1 << port, code == 2)]
            issuing.cancel()
            fetch.stop()


@cocotb.test()
@cocotb.parametrize(name=STRIPED)
async def odd_sizes(dut, name):
    """Illegal, but asked for before anyone knows: as many beats at each port as begin, and none is wanted for ever."""
    fetch = await Fetch(dut, name).start()
    for size in (*range(1, 2 * fetch.beat + 2), 15 * fetch.beat - 1, 64 * fetch.beat + 1):
        before = [model.beats for model in fetch.models]
        cocotb.start_soon(fetch.issue([Command(0, size)]))
        await ClockCycles(dut.clk, 5)
        fetch.ports.set(ring__pop=0)
        for _ in range(2000):
            await RisingEdge(dut.clk)
            fetch.ports.set(ring__pop=0)
            await fetch.settle()
            if fetch.ports.get("level"):
                fetch.ports.set(ring__pop=1, ring__pop_count=fetch.ports.get("level"))
            elif fetch.ports.get("idle"):
                break
        beats = [model.beats - was for model, was in zip(fetch.models, before)]
        assert beats == [-(-size // fetch.beat)] * fetch.count, size


@cocotb.test()
@cocotb.parametrize(name=[name for name in STRIPED if SHAPES[name]["beat"] <= SHAPES[name]["word"]])
async def stalls_of_ports_even_out(dut, name):
    """Ports that pause at random in 3 of 10 cycles, each for itself: together they pause hardly more often."""
    fetch = await Fetch(dut, name, stall=0.3, latency=(0, 40)).start()
    work = [Command(0, SIZE)]
    cocotb.start_soon(fetch.issue(work))
    ports, beats, first = fetch.ports, SIZE // fetch.beat, None
    for cycle in range(20 * beats):
        await RisingEdge(dut.clk)
        ports.set(ring__pop=0)
        await fetch.settle()
        level = ports.get("level")
        if level:
            first = cycle if first is None else first
            ports.set(ring__pop=1, ring__pop_count=level)
        elif ports.get("idle") and first:
            break
    cycles = cycle - first
    dut._log.info("%s: %d beats in %d cycles, %.3f of a single port's", name, beats, cycles, beats / 0.7 / cycles)
    assert beats / 0.7 / cycles > 0.95
