"""cocotb bench of Widener: streams packed by hand from words, random stalls on both sides, commands broken off."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tests.rtl.parts import WIDENERS
from tests.rtl.ports import Ports, reset

ZEROS = dict.fromkeys(("clear", "in_valid", "in_data", "in_narrow", "in_k_steps", "out_ready"), 0)


def pieces(words, size):
    """Words, bytes each, cut."""
    return [word[at : at + size] for word in words for at in range(0, len(word), size)]


def packed(words, size, rng):
    """Each two pieces as one, the first in the low nibbles; garbage for the one that an odd last pair lacks."""
    halves = pieces(words, size)
    if len(halves) % 2:
        halves.append(rng.bytes(size))
    return [
        bytes(low & 15 | (high & 15) << 4 for low, high in zip(first, second))
        for first, second in zip(halves[::2], halves[1::2])
    ]


def command(p, rng, narrow, k_steps):
    """The stream of some tiles and the ring words it stands for."""
    stream, words = [], []
    for _ in range(int(rng.integers(1, 4))):
        parameters = [rng.bytes(p.ring_bytes) for _ in range(p.param_words)]
        low, high = (-8, 8) if narrow else (-128, 128)
        weights = [rng.integers(low, high, p.ring_bytes).astype(np.int8).tobytes() for _ in range(k_steps)]
        size = p.piece_bytes
        stream += pieces(parameters, size) + (packed(weights, size, rng) if narrow else pieces(weights, size))
        words += parameters + weights
    return stream, words


class Bench:
    def __init__(self, dut, name):
        self.dut, self.ports, self.p = dut, Ports(dut, f"widener_{name}_"), WIDENERS[name]
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)

    async def run(self, stream, narrow, k_steps, stall, stop=None):
        """Feed the stream, or `stop` pieces of it, and collect ring words; returns them and the cycles it took."""
        p, ports, rng = self.p, self.ports, self.rng
        size, parts = p.piece_bytes, p.ring_bytes // p.piece_bytes
        words, word, at, cycles, offered = [], {}, 0, 0, False
        while at < len(stream if stop is None else stream[:stop]):
            offered = offered or rng.random() >= stall
            data = stream[at] if offered else rng.bytes(size)
            ports.set(in_valid=int(offered), in_data=int.from_bytes(data, "little"), in_narrow=narrow,
                      in_k_steps=k_steps, out_ready=int(rng.random() >= stall))  # fmt: skip
            await RisingEdge(self.dut.clk)  # samples the values before the edge
            cycles += 1
            assert ports.get("out_valid") == offered
            if offered and ports.get("out_ready"):
                halves = ports.get("out_data").to_bytes(size * min(2, parts), "little")
                for part in range(parts):
                    if ports.get("out_parts") >> part & 1:
                        assert part not in word, "a part is written twice"
                        word[part] = halves[part % 2 * size :][:size]
                if ports.get("out_complete"):
                    words.append(b"".join(word[part] for part in range(parts)))
                    word = {}
            if offered and ports.get("in_ready"):
                assert ports.get("out_ready")
                at, offered = at + 1, False
        ports.set(in_valid=0, clear=1)
        await RisingEdge(self.dut.clk)
        ports.set(clear=0)
        return words, cycles


@cocotb.test()
@cocotb.parametrize(name=list(WIDENERS), stall=[0.0, 0.4])
async def commands(dut, name, stall):
    bench = Bench(dut, name)
    await reset(dut, bench.ports, **ZEROS)
    parts = bench.p.ring_bytes // bench.p.piece_bytes
    for number in range(60):
        narrow, k_steps = int(bench.rng.random() < 0.7), int(bench.rng.choice([1, 2, 3, 4, 7]))
        stream, words = command(bench.p, bench.rng, narrow, k_steps)
        if number % 4 == 3:  # broken off
            stop = int(bench.rng.integers(1, len(stream) + 1))
            found, _ = await bench.run(stream, narrow, k_steps, stall, stop)
            assert found == words[: len(found)]
            continue
        found, cycles = await bench.run(stream, narrow, k_steps, stall)
        assert found == words
        if not stall:  # two parts of a word in a cycle, or a word per cycle
            assert cycles == (len(stream) if parts > 1 else len(words))
