"""cocotb bench of the instruction fetch: random programs through random bus delays, the consumer plays the sequencer.

Expected are the instructions in order, and the weight requests of docs/architecture.md in order: none for an expert
without tokens, none behind a ROUTE before it has run, and those in front of it without waiting for any instruction.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.isa import BYTES, Op, encode
from hwgen.params import HwParams

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
BEAT = HW.data_bus // 8
LIMIT = 6000


class Program:
    """Instructions with what is known of each: its weight request or None, the expert it depends on or None."""

    def __init__(self, rng, length, base, size):
        self.rng, self.base, self.size = rng, base, size
        self.code, self.requests, self.experts, self.routes = [], [], [], []
        for _ in range(length):
            self.add(int(rng.choice([Op.MATMUL, Op.MATMUL, Op.NORM, Op.ROUTE, Op.GATHER, Op.ATTENTION, Op.STORE])))

    def add(self, op, offset=None, size=None, **fields):
        rng = self.rng
        size = int(rng.integers(1, 40)) * 64 if size is None else size
        offset = int(rng.integers(0, (self.size - size) // 64 + 1)) * 64 if offset is None else offset
        request = expert = None
        if op in (Op.MATMUL, Op.NORM, Op.STORE):
            fields |= {"offset": offset, "bytes": size}
        if op in (Op.MATMUL, Op.NORM):
            request = (self.base + offset) % (1 << 64), size
        if op in (Op.MATMUL, Op.GATHER):
            fields |= {"expert": int(rng.integers(HW.max_experts)), "use_queue": int(rng.integers(2))} | fields
            if fields["use_queue"] and op == Op.MATMUL:
                expert = fields["expert"]
        if op not in (Op.ROUTE, Op.END):
            fields["a_stride"] = int(rng.integers(1 << 16))
        self.code.append(encode(Op(op), **fields))
        self.requests.append(request)
        self.experts.append(expert)
        self.routes.append(op == Op.ROUTE)

    @property
    def data(self):
        return b"".join(self.code)

    def expected(self, upto, nonempty):
        """Requests of the instructions before `upto`, when `nonempty[i]` holds behind the i-th ROUTE."""
        out, routed = [], 0
        for request, expert, route in list(zip(self.requests, self.experts, self.routes, strict=True))[:upto]:
            routed += route
            if request is not None and (expert is None or nonempty[routed] >> expert & 1):
                out.append(request)
        return out


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)
        self.memory, self.beats, self.commands = {}, [], []
        self.instructions, self.requests, self.weight_stop = [], [], False
        self.rates = {"cmd": 1.0, "beat": 1.0, "out": 1.0, "weight": 1.0}
        self.waiting = None  # weight request shown and not taken: must stay

    def drive(self, **values):
        for name, value in values.items():
            getattr(self.dut, f"{P['part']}_{name}").value = value

    def port(self, name):
        return int(getattr(self.dut, f"{P['part']}_{name}").value)

    async def cycle(self, *, rst=0, may_take=True, **values):
        """One clock cycle; the bus answers a command after some beats' time, in order."""
        await RisingEdge(self.dut.clk)
        rng, rates = self.rng, self.rates
        beat = bool(self.beats) and rng.random() < rates["beat"]
        ready = {name: bool(rng.random() < rates[name]) for name in ("cmd", "out", "weight")}
        ready["out"] &= may_take
        self.dut.rst.value = rst
        noise = int.from_bytes(rng.bytes(BEAT), "little")
        self.drive(
            beat_valid=beat,
            beat_data=self.beats[0] if beat else noise,
            cmd_ready=ready["cmd"],
            out_ready=ready["out"],
            weight_ready=ready["weight"] and not self.weight_stop,
            **values,
        )
        await ReadOnly()
        if rst:
            return False
        if beat:
            assert self.port("beat_ready"), "room was promised for all beats"
            self.beats.pop(0)
        if ready["cmd"] and self.port("cmd_valid"):
            address = self.port("cmd_address")
            assert address in self.memory, f"fetched beyond the limit: {address:#x}"
            self.commands.append(address)
            data = self.memory[address]
            self.beats += [int.from_bytes(data[i : i + BEAT], "little") for i in range(0, BYTES, BEAT)]
        if self.port("weight_valid"):
            request = self.port("weight_address"), self.port("weight_bytes")
            assert self.waiting in (None, request), "a request changed while it waited"
            self.waiting = request
            if ready["weight"] and not self.weight_stop:
                self.requests.append(request)
                self.waiting = None
        else:
            assert self.waiting is None, "a request was withdrawn"
        taken = ready["out"] and self.port("out_valid")
        if taken:
            self.instructions.append(self.port("out_data").to_bytes(BYTES, "little"))
        return taken

    async def begin(self, data, address, limit=None, **weights):
        """Reset, then start on `data` at `address`."""
        self.__init__(self.dut)
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        for _ in range(3):
            await self.cycle(rst=1, start=0, route_done=0, nonempty=0, **weights)
        limit = len(data) if limit is None else limit
        for i in range(0, limit - BYTES + 1, BYTES):
            self.memory[(address + i) % (1 << 64)] = data[i : i + BYTES]
        for _ in range(2):
            await self.cycle()
            assert not self.port("exhausted"), "exhausted before the start"
        await self.cycle(start=1, address=address, limit=limit)
        await self.cycle(start=0, address=0, limit=0)


def rates_of(rng):
    return {name: float(rng.choice([0.05, 0.3, 0.8, 1.0])) for name in ("cmd", "beat", "out", "weight")}


async def execute(bench, program, nonempty):
    """Plays the sequencer: runs instructions in order, those with weights only when their request was taken."""
    rng, routed, busy = bench.rng, 0, False
    ready_at, cycle = 0, 0
    done = len(program.code)
    requests = [len(program.expected(n, nonempty)) for n in range(done + 1)]
    while len(bench.instructions) < done or busy:
        finish = busy and cycle >= ready_at and len(bench.requests) >= requests[len(bench.instructions)]
        route = finish and program.routes[len(bench.instructions) - 1]
        routed += route
        busy = busy and not finish
        # Queues change as ROUTE runs, a little before `route_done`.
        taken = await bench.cycle(may_take=not busy, route_done=int(route), nonempty=nonempty[routed])
        if taken:
            assert not bench.port("exhausted")
            busy, ready_at = True, cycle + 1 + int(rng.integers(0, 12))
        # Nothing behind a ROUTE that has not run.
        running = next((i for i, r in enumerate(np.cumsum(program.routes)) if r > routed), done)
        assert bench.requests == program.expected(running, nonempty)[: len(bench.requests)]
        cycle += 1
        assert cycle < LIMIT, f"stuck after {len(bench.instructions)} of {done} instructions"


@cocotb.test()
async def programs(dut):
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 1)
    for trial in range(12):
        base = int(rng.integers(1 << 40)) * 64 if trial else (1 << 64) - 4096 * 64
        size = 4096 if trial % 2 else 0xFFFF_FFFF
        program = Program(rng, int(rng.integers(1, 24)), base, size)
        if trial % 3 == 0:
            program.add(Op.ROUTE)
            program.add(Op.ROUTE)
            program.add(Op.MATMUL, offset=size - size % 64 - 64, size=64)  # up to the very end
        address = int(rng.integers(1 << 40)) * 64
        rest = int(rng.integers(BYTES)) if trial % 2 else 0  # less than an instruction is left over
        await bench.begin(program.data + bytes(rest), address, weights_base=base, weights_size=size)
        if trial % 4:
            bench.rates = rates_of(rng)
        nonempty = [int(rng.integers(1 << HW.max_experts)) for _ in range(sum(program.routes) + 1)]
        await execute(bench, program, nonempty)
        for _ in range(5):
            await bench.cycle()
        assert bench.instructions == program.code
        assert bench.requests == program.expected(len(program.code), nonempty)
        assert bench.port("exhausted") and not bench.port("weight_error")


@cocotb.test()
async def ahead(dut):
    """Requests up to the next ROUTE go out although no instruction is taken, as many as the queues hold."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 2)
    program = Program(rng, 0, 0, 1 << 20)
    for op in (Op.MATMUL, Op.NORM, Op.ROUTE, Op.NORM, Op.NORM):
        program.add(op, **({"use_queue": 0} if op == Op.MATMUL else {}))
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 20)
    for _ in range(200):
        await bench.cycle(may_take=False)
    depth = HW.instruction_queue
    assert bench.requests == program.expected(min(2, depth), [0] * 9)
    assert len(bench.commands) <= depth, "more instructions fetched than there is room for"
    assert not bench.port("exhausted")


@cocotb.test()
async def weights_range(dut):
    """A request that ends beyond the region is never made, by however little or much it does."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 3)
    cases = ((4096, 4032, 65), (4096, 4096, 64), (0, 0, 64), (100, 0xFFFF_FFC0, 0xFFFF_FFFF), (64, 64, 64))
    for size, offset, length in cases:
        program = Program(rng, 0, 0, 1 << 20)
        program.add(Op.NORM, offset=0, size=min(size, 64) & ~63) if size >= 64 else None
        program.add(Op.MATMUL, offset=offset, size=length, use_queue=0)
        program.add(Op.NORM, offset=0, size=64)
        await bench.begin(program.data, 128, weights_base=1 << 33, weights_size=size)
        for _ in range(100):
            await bench.cycle()
        assert bench.port("weight_error")
        assert len(bench.requests) == (size >= 64)
    # An expert without tokens does not ask, wherever its weights are.
    program = Program(rng, 0, 0, 1 << 20)
    program.add(Op.MATMUL, offset=4096, size=64, use_queue=1, expert=0)
    await bench.begin(program.data, 0, weights_base=0, weights_size=64)
    for _ in range(100):
        await bench.cycle()
    assert not bench.port("weight_error") and not bench.requests


@cocotb.test()
async def empty(dut):
    bench = Bench(dut)
    for limit in (0, BYTES - 1):
        await bench.begin(bytes(BYTES), 0, limit=limit, weights_base=0, weights_size=0)
        for _ in range(20):
            await bench.cycle()
        assert bench.port("exhausted") and not bench.commands


@cocotb.test()
async def beyond_end(dut):
    """What lies behind END, another task's program or no program at all, asks for no weights and is no error."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 4)
    program = Program(rng, 0, 0, 1 << 12)
    program.add(Op.NORM)
    program.add(Op.END)
    wanted = len(program.code)
    program.add(Op.NORM)
    program.add(Op.MATMUL, offset=1 << 20, size=64, use_queue=0)
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 12)
    for _ in range(150):
        await bench.cycle(may_take=len(bench.instructions) < wanted)
    assert bench.instructions == program.code[:wanted]
    assert not bench.port("weight_error"), "an instruction behind END stopped the program"
    assert bench.requests == program.expected(wanted, [0]), "weights of an instruction behind END"


@cocotb.test()
async def no_bytes(dut):
    """WeightFetch takes no command of 0 bytes; the operand check refuses the instruction later."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 5)
    program = Program(rng, 0, 0, 1 << 12)
    program.add(Op.MATMUL, offset=64, size=0, use_queue=0)
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 12)
    for _ in range(60):
        await bench.cycle()
    assert not bench.requests, "a request of 0 bytes"


@cocotb.test()
async def late_acceptance(dut):
    """`route_done` while a request in front of the ROUTE still waits is neither forgotten nor counted twice."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 6)
    program = Program(rng, 0, 0, 1 << 12)
    for op in (Op.NORM, Op.ROUTE, Op.NORM, Op.ROUTE, Op.NORM):
        program.add(op)
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 12)
    bench.weight_stop = True
    for _ in range(80):
        await bench.cycle()
    await bench.cycle(route_done=1)
    await bench.cycle(route_done=0)
    for _ in range(10):
        await bench.cycle()
    bench.weight_stop = False
    for _ in range(80):
        await bench.cycle()
    assert bench.requests == program.expected(4, [0] * 3)
