"""cocotb bench of the instruction fetch: random programs through random bus delays, the consumer plays the sequencer.

Expected are the instructions in order, a decision for each MATMUL with weights of its own, and the weight requests of
those decided for: all but experts without tokens, these only while a ROUTE in front of them has not run.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.isa import BYTES, Op, encode
from hwgen.machine.params import HwParams
from tests.rtl.ports import Ports

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
BEAT = HW.data_bus // 8
DEPTH = HW.instruction_queue
LIMIT = 8000
#: Cycles from `route_done` to the first request that may not be a guess any more.
SETTLED = 2
MASK = (1 << 64) - 1
ADDRESSES = ("weights_base", *(f"weights_base{port}" for port in range(1, HW.weight_ports)))


def bases(base):
    """Of each port's share of the weights, far apart."""
    return {name: base + (port << 58) & MASK for port, name in enumerate(ADDRESSES)}


class Program:
    """Instructions; `requests` of those with weights: what is asked for (addresses, bytes, narrow, k_steps), expert
    or None, number of ROUTEs in front."""

    def __init__(self, rng, length, base, size):
        self.rng, self.base, self.size = rng, base, size
        self.code, self.ops, self.requests, self.routes = [], [], [], 0
        ops = [Op.MATMUL] * 4 + [Op.ROUTE, Op.NORM, Op.GATHER, Op.ATTENTION, Op.LOAD, Op.STORE]
        for _ in range(length):
            self.add(ops[int(rng.integers(len(ops)))])

    def add(self, op, *, offset=None, size=None, **fields):
        rng = self.rng
        if op in (Op.MATMUL, Op.LOAD, Op.STORE):
            kept = op == Op.MATMUL and size is None and rng.random() < 0.2
            size = 0 if kept else int(rng.integers(1, 40)) * 64 if size is None else size
            offset = int(rng.integers(0, (self.size - size) // 64 + 1)) * 64 if offset is None else offset
            fields |= {"offset": offset, "bytes": size}
        if op in (Op.MATMUL, Op.GATHER):
            fields |= {"expert": int(rng.integers(HW.max_experts)), "use_queue": int(rng.integers(2))} | fields
        if op == Op.MATMUL and size:
            fields |= {"narrow": int(rng.integers(2)), "k_steps": int(rng.integers(1 << 16))}
            expert = fields["expert"] if fields["use_queue"] else None
            addresses = tuple(base + offset // HW.weight_ports & MASK for base in bases(self.base).values())
            asked = (addresses, size, fields["narrow"], fields["k_steps"])
            self.requests.append((asked, expert, self.routes))
        self.routes += op == Op.ROUTE
        self.ops.append((op, fields))
        if op not in (Op.END, Op.LOAD, Op.ROUTE):
            fields = fields | {"tiles": int(rng.integers(1 << 16))}
        self.code.append(encode(Op(op), **fields))

    @property
    def data(self):
        return b"".join(self.code)


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)
        ports = Ports(dut, f"{P['part']}_")
        self.drive, self.port = ports.set, ports.get
        self.memory, self.beats, self.commands = {}, [], []
        self.instructions, self.requests, self.decisions = [], [], []
        self.rates = {"reads": 1.0, "beats": 1.0, "out": 1.0, "weights": 1.0, "decisions": 1.0}
        self.waiting = None  # weight request shown and not taken: must stay
        self.now = 0

    async def cycle(self, *, rst=0, may_take=True, may_decide=True, **values):
        """One clock cycle; the bus answers a command after some beats' time, in order. Tells what was taken."""
        await RisingEdge(self.dut.clk)
        rng, self.now = self.rng, self.now + 1
        ready = {name: bool(rng.random() < rate) for name, rate in self.rates.items()}
        beat = bool(self.beats) and ready["beats"]
        ready["out"] &= may_take
        ready["decisions"] &= may_decide
        self.dut.rst.value = rst
        self.drive(
            beats__valid=beat,
            beats__payload=self.beats[0] if beat else int.from_bytes(rng.bytes(BEAT), "little"),
            **{f"{name}__ready": ready[name] for name in ("reads", "out", "weights", "decisions")},
            **values,
        )
        await ReadOnly()
        if rst:
            return None, None
        if beat:
            assert self.port("beats__ready"), "room was promised for all beats"
            self.beats.pop(0)
        if ready["reads"] and self.port("reads__valid"):
            address = self.port("reads__payload")
            assert address in self.memory, f"fetched beyond the limit: {address:#x}"
            assert len(self.commands) - len(self.instructions) < DEPTH, "more instructions fetched than there is room"
            self.commands.append(address)
            data = self.memory[address]
            self.beats += [int.from_bytes(data[i : i + BEAT], "little") for i in range(0, BYTES, BEAT)]
        if self.port("weights__valid"):
            payload = self.port("weights__payload")
            addresses = payload & MASK, *(payload >> 113 + 64 * port & MASK for port in range(HW.weight_ports - 1))
            request = addresses, payload >> 64 & MASK >> 32, payload >> 96 & 1, payload >> 97 & 0xFFFF
            if self.waiting is None:
                self.waiting = (request, self.now)
            assert self.waiting[0] == request, "a request changed while it waited"
            if ready["weights"]:
                self.requests.append(self.waiting)
                self.waiting = None
        else:
            assert self.waiting is None, "a request was withdrawn"
        taken = decided = None
        if ready["decisions"] and self.port("decisions__valid"):
            decided = self.port("decisions__payload")
            self.decisions.append(decided)
        if ready["out"] and self.port("out__valid"):
            taken = self.port("out__payload").to_bytes(BYTES, "little")
            self.instructions.append(taken)
        return taken, decided

    async def begin(self, data, address, limit=None, *, weights_base, **weights):
        """Reset, then start on `data` at `address`."""
        weights |= bases(weights_base)
        self.__init__(self.dut)
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        for _ in range(3):
            await self.cycle(rst=1, start=0, address=address, route_done=0, nonempty=0, **weights)
        limit = len(data) if limit is None else limit
        for i in range(0, limit - BYTES + 1, BYTES):
            self.memory[(address + i) & MASK] = data[i : i + BYTES]
        for _ in range(2):
            await self.cycle()
            assert not self.port("exhausted"), "exhausted before the start"
        await self.cycle(start=1, limit=limit)
        await self.cycle(start=0, limit=0)

    def check_requests(self, program, nonempty, done_at, *, all_decided=True):
        """Decisions and requests of `program`; `nonempty[i]` holds after the i-th ROUTE, done in cycle `done_at[i]`.
        Returns the number of guesses that were wrong."""
        assert len(self.decisions) == len(program.requests) or not all_decided
        requests, wrong = iter(self.requests), 0
        for (asked, expert, routes), fetched in zip(program.requests, self.decisions):
            useful = expert is None or nonempty[routes] >> expert & 1
            assert fetched or not useful, "weights that are needed were not fetched"
            if fetched:
                request = next(requests, None)
                assert request, "no request although decided for it"
                assert request[0] == asked
                if not useful:
                    wrong += 1
                    known = max((done_at[i] for i in range(1, routes + 1)), default=0)
                    assert request[1] < known + SETTLED, "weights of an expert that was known to be without tokens"
        assert next(requests, None) is None, "a request without a decision"
        return wrong


async def execute(bench, program, nonempty):
    """Plays the sequencer: a ROUTE runs beside what does not use its queues; decisions come before their instruction
    runs. Returns the cycles in which ROUTEs were done."""
    rng, done_at = bench.rng, {0: 0}
    held, routing, ready_at, waiting = None, None, 0, False
    while len(bench.instructions) < len(program.code) or held or routing:
        if held and not waiting and bench.now >= ready_at:
            op, f = held
            if not (routing and (op == Op.ROUTE or f.get("use_queue"))):
                held, ready_at = None, bench.now + int(rng.integers(12))
                if op == Op.ROUTE:
                    routing = bench.now + int(rng.integers(1, 60))
        done = routing is not None and bench.now >= routing
        if done:
            routing = None
            done_at[len(done_at)] = bench.now + 1
        # The queues change while ROUTE runs.
        now = int(rng.integers(1 << HW.max_experts)) if routing else nonempty[len(done_at) - 1]
        taken, decided = await bench.cycle(
            may_take=held is None, may_decide=waiting, route_done=int(done), nonempty=now
        )
        if decided is not None:
            waiting = False
        if taken:
            assert not bench.port("exhausted")
            held = program.ops[len(bench.instructions) - 1]
            waiting = held[0] == Op.MATMUL and held[1]["bytes"] != 0
        assert bench.now < LIMIT, f"stuck after {len(bench.instructions)} of {len(program.code)} instructions"
    return done_at


@cocotb.test()
async def programs(dut):
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 1)
    wrong = skipped = 0
    for trial in range(30):
        base = int(rng.integers(1 << 40)) * 64 if trial else MASK + 1 - 4096 * 64
        size = 4096 if trial % 2 else 0xFFFF_FFFF
        program = Program(rng, int(rng.integers(1, 40)), base, size)
        if trial % 3 == 0:
            program.add(Op.ROUTE)
            program.add(Op.ROUTE)
            program.add(Op.MATMUL, offset=size - size % 64 - 64, size=64)  # up to the very end
        address = int(rng.integers(1 << 40)) * 64
        if trial % 3 == 1:  # across a boundary of 4 GB
            address = (address & ~0xFFFF_FFFF) - 64 * int(rng.integers(1, 5)) & MASK
        rest = int(rng.integers(BYTES)) if trial % 2 else 0  # less than an instruction is left over
        await bench.begin(program.data + bytes(rest), address, weights_base=base, weights_size=size)
        if trial % 4:
            bench.rates = {name: float(rng.choice([0.05, 0.3, 0.8, 1.0])) for name in bench.rates}
        nonempty = [int(rng.integers(1 << HW.max_experts)) for _ in range(program.routes + 1)]
        done_at = await execute(bench, program, nonempty)
        bench.rates["weights"] = 1.0
        for _ in range(50):
            await bench.cycle(may_decide=False)
            assert bench.port("exhausted") and not bench.port("decisions__valid")
        assert bench.instructions == program.code
        wrong += bench.check_requests(program, nonempty, done_at)
        skipped += bench.decisions.count(0)
    assert skipped and (wrong or DEPTH < 3)


@cocotb.test()
async def ahead(dut):
    """Requests go out through ROUTEs although no instruction is taken, as many as the queues hold."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 2)
    program = Program(rng, 0, 0, 1 << 20)
    for op in (Op.MATMUL, Op.ROUTE, Op.MATMUL, Op.ROUTE, Op.MATMUL, Op.MATMUL, Op.MATMUL):
        program.add(op, **({"use_queue": int(program.routes > 0), "size": 64} if op == Op.MATMUL else {}))
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 20)
    for _ in range(200):
        await bench.cycle(may_take=False, may_decide=False)
    ops = [op for op, _ in program.ops[:DEPTH]]
    assert [request[0] for request in bench.requests] == [r[0] for r in program.requests[: ops.count(Op.MATMUL)]]
    assert len(bench.commands) == min(DEPTH, len(program.code))
    assert not bench.port("exhausted")


@cocotb.test()
async def after_route(dut):
    """ROUTEs are done before the requests behind them come up: nothing is a guess, though requests wait."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 3)
    for routes in range(1, min(DEPTH, 2) + 1):
        for early in (False, True):  # done before the fetch passes ROUTE by: a request in front of it waits
            program = Program(rng, 0, 0, 1 << 12)
            program.add(Op.MATMUL, size=64, use_queue=0)
            for _ in range(routes):
                program.add(Op.ROUTE)
            for expert in range(2):
                program.add(Op.MATMUL, size=64, use_queue=1, expert=expert)
            await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 12)
            bench.rates["weights"] = 0.0
            nonempty, done_at = [0b10] * 3, {0: 0}
            for _ in range(60):
                await bench.cycle(may_take=len(bench.instructions) < 1 + routes, nonempty=0b10)
            assert len(bench.instructions) == 1 + routes and bench.waiting
            for index in range(routes):
                if not early:
                    bench.rates["weights"] = 1.0
                await bench.cycle(route_done=1)
                done_at[index + 1] = bench.now
                await bench.cycle(route_done=0)
            bench.rates["weights"] = 1.0
            for _ in range(150):
                await bench.cycle()
            bench.check_requests(program, nonempty, done_at)
            if early:
                assert bench.decisions == [1, 0, 1]


@cocotb.test()
async def weights_range(dut):
    """A request that ends beyond the region is never made, by however little or much it does, nor any behind it."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 4)
    cases = ((4096, 4032, 65), (4096, 4096, 64), (0, 0, 64), (100, 0xFFFF_FFC0, 0xFFFF_FFFF), (64, 64, 64),
             (4096, 0xFFFF_FFC0, 128))  # fmt: skip
    for size, offset, length in cases:
        for use_queue in range(2):
            program = Program(rng, 0, 0, 1 << 20)
            program.add(Op.MATMUL, offset=0, size=64, use_queue=0) if size >= 64 else None
            program.add(Op.MATMUL, offset=offset, size=length, use_queue=use_queue)
            program.add(Op.MATMUL, offset=0, size=64, use_queue=0)
            await bench.begin(program.data, 128, weights_base=1 << 33, weights_size=size)
            for _ in range(100):
                await bench.cycle()
            assert len(bench.requests) == len(bench.decisions) == (size >= 64)
            reached = len(bench.requests) + 1
            assert bench.instructions[:reached] == program.code[:reached], "the sequencer must come to the instruction"


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
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 5)
    program = Program(rng, 0, 0, 1 << 12)
    program.add(Op.MATMUL, size=64, use_queue=0)
    program.add(Op.END)
    wanted = len(program.code)
    program.add(Op.MATMUL, size=64, use_queue=0)
    program.add(Op.MATMUL, offset=1 << 20, size=64, use_queue=0)
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 12)
    for _ in range(150):
        await bench.cycle()
    assert bench.instructions == program.code[:wanted]
    assert [request[0] for request in bench.requests] == [program.requests[0][0]]
    assert bench.decisions == [1], "weights of an instruction behind END"


@cocotb.test()
async def kept_weights(dut):
    """WeightFetch takes no command of 0 bytes: a MATMUL of kept weights neither asks nor is decided on."""
    bench = Bench(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED + 6)
    program = Program(rng, 0, 0, 1 << 12)
    program.add(Op.MATMUL, offset=64, size=0, use_queue=0)
    await bench.begin(program.data, 0, weights_base=0, weights_size=1 << 12)
    for _ in range(60):
        await bench.cycle()
    assert bench.instructions == program.code
    assert not bench.requests and not bench.decisions
