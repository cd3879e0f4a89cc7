"""cocotb bench of the sequencer: units, ports and the instruction fetch are played here, with random delays.

A run gives a list of events (commands, starts, retirements, the end); a model in Python says which it must be.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, ReadWrite, RisingEdge

from hwgen.isa import BYTES, Op, Source, decode, encode
from hwgen.params import HwParams
from hwgen.regmap import Error

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
UNIT = {Op.MATMUL: "engine", Op.ATTENTION: "engine", Op.NORM: "norm", Op.ROUTE: "router", Op.GATHER: "mover",
        Op.MEAN: "mover", Op.IMAGE: "image", Op.LOADX: "loadx", Op.STORE: "store"}  # fmt: skip
UNITS = sorted(set(UNIT.values()))
REGIONS = ("program", "weights", "input", "output")
PULSES = ("read0_error", "read1_error", "write1_error")
FAULTS = {"read0_error": Error.READ_GMEM0, "read1_error": Error.READ_GMEM1, "write1_error": Error.WRITE_GMEM1}
X_WORD, RING, PK = 2 * HW.c, HW.c * HW.k, HW.param_words
MASK = (1 << 64) - 1


def instruction(rng, op, **more):
    """A legal instruction."""
    rows = {"row_end": int(rng.integers(1, HW.max_tokens + 1))}
    offset = {"offset": int(rng.integers(8)) * 64}
    match op:
        case Op.END:
            f = {}
        case Op.LOADX:
            f = offset | {"bytes": int(rng.integers(1, 9)) * max(X_WORD, 64)}
        case Op.IMAGE:
            f = offset | {"bytes": int(rng.integers(1, 600)), "a_stride": 2, "k_steps": 6, "tiles": 3}
        case Op.NORM:
            f = rows | offset | {"tiles": 2, "bytes": 2 * PK * RING, "dim": 9}
        case Op.MATMUL:
            f = offset | {"tiles": 3, "k_steps": 5, "bytes": 3 * (PK + 5) * RING}
            if rng.integers(2):
                f |= {"use_queue": 1, "expert": int(rng.integers(HW.max_experts)), "scatter": int(rng.integers(2))}
            else:
                f |= rows
        case Op.ATTENTION:
            f = rows | {"tiles": 1, "k_steps": 2, "key_tiles": 3, "pv_steps": 4}
        case Op.ROUTE:
            f = rows | {"tiles": 4, "k_steps": 2}
        case Op.GATHER:
            f = {"use_queue": 1, "expert": int(rng.integers(HW.max_experts)), "tiles": 2}
        case Op.MEAN:
            f = rows | {"tiles": 2}
        case Op.STORE:
            source = int(rng.choice([Source.X, Source.Y]))
            f = rows | offset | {"tiles": 2, "source": source, "bytes": 2 * X_WORD * rows["row_end"]}
    return encode(op, **(f | more))


def random_code(rng, length, end=True):
    ops = [op for op in Op if op != Op.END]
    code = [instruction(rng, ops[int(rng.integers(len(ops)))]) for _ in range(length)]
    return code + [instruction(rng, Op.END)] * end


def registers(rng, code, entry=0, **more):
    r = {f"{name}_base": int(rng.integers(1 << 56)) * 64 for name in REGIONS}
    r |= {f"{name}_size": 1 << 14 for name in REGIONS}
    r |= {"entry": entry, "batch": 1, "input_stride": 0, "output_stride": 0}
    return r | {"program_size": entry + BYTES * len(code)} | more


def model(code, r, queues):
    """All events of a run without faults of the ports, and the error code with the number of its instruction."""
    events = []
    for image in range(max(r["batch"], 1)):
        limit = max(r["program_size"] - r["entry"], 0)
        events.append(("fetch", (r["program_base"] + r["entry"]) & MASK, limit))
        for index, word in enumerate(code + [None]):
            if word is None or (index + 1) * BYTES > limit:
                return events, Error.PROGRAM_RANGE, index
            f = decode(word)
            if f["op"] not in list(Op):
                return events, Error.OPCODE, index
            op = Op(f["op"])
            if op != Op.END and f["tiles"] == 0 and op != Op.LOADX:
                return events, Error.FIELD, index
            if op in (Op.IMAGE, Op.LOADX, Op.STORE, Op.MATMUL, Op.NORM):
                region = {Op.IMAGE: "input", Op.STORE: "output"}.get(op, "weights")
                shift = image * r.get(f"{region}_stride", 0)
                if shift + f["offset"] + f["bytes"] > r[f"{region}_size"]:
                    return events, Error[f"{region.upper()}_RANGE"], index
                address = (r[f"{region}_base"] + shift + f["offset"]) & MASK
                if op == Op.STORE:
                    events.append(("write", address, f["bytes"]))
                elif op in (Op.IMAGE, Op.LOADX):
                    events.append(("read", address, f["bytes"], 1 if op == Op.IMAGE else 2))
            rows = queues[f["expert"]] if f["use_queue"] else f["row_end"]
            if op != Op.END and not (f["use_queue"] and rows == 0):
                events.append(("start", UNIT[op], word, rows))
            events.append(("retire", index))
            if op == Op.ROUTE:
                events.append(("route",))
            if op == Op.END:
                break
    return events, Error.NONE, len(code)


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)
        self.now = 0

    def get(self, name):
        return int(getattr(self.dut, name).value)

    async def begin(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        self.dut.rst.value = 1
        for name in ("start", "fetch_valid", "fetch_exhausted", *PULSES):
            getattr(self.dut, name).value = 0
        for unit in UNITS:
            getattr(self.dut, f"{unit}_done").value = 0
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await ReadOnly()
        assert self.get("idle") and not self.get("running")

    async def run(self, code, r, queues, *, fault=None, at=None):
        """Start to `done`. `fault`: names raised at the given number of cycles. Returns events, code, index."""
        dut, rng, get = self.dut, self.rng, self.get
        slow = float(rng.choice([0.1, 0.5, 1.0]))
        events, stream, unit, finish = [], [], None, None
        aborting = cleared = False
        idle_at = writer_at = done_at = None
        stored = False
        command = previous = None
        limit = 400 * (len(code) + 2) * max(r["batch"], 1) + 2000
        for cycle in range(limit):
            await RisingEdge(dut.clk)
            if cycle == 0:
                for name, value in r.items():
                    getattr(dut, name).value = value
            dut.start.value = cycle == 0
            if cleared:  # the fetch is reset
                stream, cleared = [], False
            valid = bool(stream) and rng.random() < slow and stream[0] is not None
            dut.fetch_valid.value = valid
            dut.fetch_data.value = int.from_bytes(stream[0], "little") if valid else int(rng.integers(1 << 62))
            dut.fetch_exhausted.value = bool(stream) and stream[0] is None
            for name in ("read_ready", "write_ready"):
                getattr(dut, name).value = int(rng.random() < slow)
            for name in UNITS:  # a unit that was not started may not be believed
                getattr(dut, f"{name}_done").value = unit == name and cycle == finish
            done_now = unit if unit and cycle == finish else None
            if done_now:
                stored = unit == "store"
                unit = None
            for name in PULSES:
                getattr(dut, name).value = fault is not None and cycle == at and name in fault
            dut.ports_idle.value = aborting and cycle >= idle_at
            writer_idle = writer_at is None or cycle >= writer_at
            dut.writer_idle.value = writer_idle
            await ReadWrite()
            dut.queue_length.value = queues[min(get("instruction") >> 8 & 255, HW.max_experts - 1)]
            await ReadOnly()

            assert get("idle") == (cycle == 0) or get("done")
            if cycle:
                assert get("running") == (not get("done"))
            if get("fetch_start"):
                assert not aborting
                events.append(("fetch", get("fetch_address"), get("fetch_limit")))
                count = min(get("fetch_limit") // BYTES, len(code))
                stream = code[:count] + [None]
            elif valid and get("fetch_ready"):
                stream.pop(0)
            for kind in ("read", "write"):
                if get(f"{kind}_valid"):
                    tag = (get("read_tag"),) if kind == "read" else ()
                    now = (kind, get(f"{kind}_address"), get("data_bytes"), *tag)
                    assert command in (None, now), "the command changed before it was taken"
                    command = now
                    if int(getattr(dut, f"{kind}_ready").value):
                        events.append(now)
                        command = None
                        if kind == "write":
                            writer_at = 1 << 60
                elif command is not None and command[0] == kind:
                    assert fault is not None, "a command was withdrawn"
                    command = None
            state = get("instruction"), get("rows")
            if unit or done_now:
                assert state == previous, "instruction or rows changed while a unit runs"
            for name in UNITS:
                if get(f"{name}_start"):
                    assert unit is None and not aborting
                    unit, finish = name, cycle + 1 + int(rng.integers(0, 9))
                    events.append(("start", name, state[0].to_bytes(BYTES, "little"), state[1]))
            previous = state
            if done_now == "store":
                writer_at = cycle + int(rng.integers(0, 15))
            if get("retire"):
                assert unit is None, "retired before its unit is done"
                assert not stored or writer_idle, "retired before its writes were acknowledged"
                stored = False
                events.append(("retire", get("retire_index")))
            if get("route_done"):
                events.append(("route",))
            if get("abort") and not aborting:
                aborting, idle_at, writer_at = True, cycle + int(rng.integers(0, 12)), None
            elif aborting and not get("abort"):
                raise AssertionError("abort was let go")
            if get("clear"):
                assert aborting and cycle > idle_at, "cleared before the ports were idle"
                aborting, cleared, unit, done_at = False, True, None, cycle
            if get("done"):
                assert done_at == cycle - 1, "done without clear"
                self.now = cycle
                return events, get("error_code"), get("error_index")
        raise AssertionError(f"not done after {limit} cycles: {events[-3:]}")

    async def pause(self):
        for _ in range(int(self.rng.integers(1, 4))):
            await RisingEdge(self.dut.clk)
            self.dut.start.value = 0
            self.dut.fetch_valid.value = self.dut.fetch_exhausted.value = 0
            await ReadOnly()
            assert self.get("idle") and not any(
                self.get(name) for name in ("done", "retire", "abort", "clear", "running", "fetch_start")
            )


def random_queues(rng):
    lengths = rng.integers(0, HW.max_tokens + 1, HW.max_experts)
    return [int(length) for length in np.where(rng.random(HW.max_experts) < 0.4, 0, lengths)]


async def expect(bench, code, r, queues=None):
    queues = random_queues(bench.rng) if queues is None else queues
    wanted, error, index = model(code, r, queues)
    events, got_error, got_index = await bench.run(code, r, queues)
    for got, want in zip(events, wanted):
        assert got == want
    assert len(events) == len(wanted), f"{events[len(wanted) :]} instead of {wanted[len(events) :]}"
    assert (got_error, got_index) == (error, index), f"{Error(got_error)!r}"
    await bench.pause()


@cocotb.test()
async def programs(dut):
    bench = Bench(dut)
    await bench.begin()
    for trial in range(15):
        code = random_code(bench.rng, int(bench.rng.integers(0, 14)))
        await expect(bench, code, registers(bench.rng, code, entry=64 * int(bench.rng.integers(5)) if trial else 0))
    code = [instruction(bench.rng, op) for op in [*list(Op)[1:], Op.END]]
    for queues in ([0] * HW.max_experts, [HW.max_tokens] * HW.max_experts):
        await expect(bench, code, registers(bench.rng, code), queues)


@cocotb.test()
async def batches(dut):
    bench = Bench(dut)
    await bench.begin()
    for batch in (0, 2, 5):
        code = random_code(bench.rng, 3)
        code = [instruction(bench.rng, Op.IMAGE), *code[:-1], instruction(bench.rng, Op.STORE), code[-1]]
        strides = {"input_stride": 640, "output_stride": 1 << 12}
        r = registers(bench.rng, code, batch=batch, output_size=1 << 16, input_base=MASK - 1087, **strides)
        await expect(bench, code, r)
    # The region ends within the third image, and with strides beyond 32 bits in all.
    code = [instruction(bench.rng, Op.NORM), instruction(bench.rng, Op.IMAGE, offset=64, bytes=100), code[-1]]
    for size in (163 + 1280, 164 + 1280):
        r = registers(bench.rng, code, batch=3, input_stride=640, input_size=size)
        await expect(bench, code, r)
    r = registers(bench.rng, code, batch=4, input_stride=0xFFFF_FFC0, input_size=0xFFFF_FFFF)
    await expect(bench, code, r)


@cocotb.test()
async def ranges(dut):
    """Each region to its last byte, and a byte less; then the next run is a good one."""
    bench = Bench(dut)
    await bench.begin()
    rng = bench.rng
    for op, region in ((Op.IMAGE, "input"), (Op.LOADX, "weights"), (Op.STORE, "output")):
        code = [instruction(rng, Op.MEAN), instruction(rng, op), instruction(rng, Op.END)]
        f = decode(code[1])
        for size in (f["offset"] + f["bytes"], f["offset"] + f["bytes"] - 1, 0):
            await expect(bench, code, registers(rng, code, **{f"{region}_size": size}))
        huge = [instruction(rng, op, offset=0xFFFF_FFC0), code[2]]  # offset + bytes exceeds 32 bits
        await expect(bench, huge, registers(rng, huge, **{f"{region}_size": 0xFFFF_FFFF}))
        await expect(bench, code, registers(rng, code))


@cocotb.test()
async def illegal(dut):
    bench = Bench(dut)
    await bench.begin()
    rng = bench.rng
    for bad in (bytes(BYTES), bytes([11]) + bytes(63), b"\xff" * BYTES, instruction(rng, Op.MEAN, tiles=0)):
        for before in (0, 1, 6):
            code = [*random_code(rng, before, end=False), bad, *random_code(rng, 2)]
            await expect(bench, code, registers(rng, code))
    # Not a whole instruction is left; no END; an entry behind the program.
    code = random_code(rng, 4, end=False)
    for cut in (0, 1, 63, 64):
        r = registers(rng, code)
        await expect(bench, code, r | {"program_size": r["program_size"] - cut})
    for entry in (64, 640):
        await expect(bench, code, registers(rng, code, entry=entry, program_size=64))
    await expect(bench, code, registers(rng, code, program_size=0))
    code = random_code(rng, 3)
    await expect(bench, code, registers(rng, code))


@cocotb.test()
async def port_faults(dut):
    """At any moment: nothing new starts, the ports come to rest, the units are reset; afterwards all is well."""
    bench = Bench(dut)
    await bench.begin()
    rng = bench.rng
    codes = set()
    for trial in range(100):
        code = random_code(rng, int(rng.integers(1, 6)))
        r, queues = registers(rng, code), random_queues(rng)
        wanted, _, _ = model(code, r, queues)
        name = list(FAULTS)[trial % len(FAULTS)]
        at = int(rng.integers(2, 50))
        events, error, index = await bench.run(code, r, queues, fault=(name,), at=at)
        retired = sum(event[0] == "retire" for event in events)
        if bench.now > at + 12 + 15:  # else the program may have come to its end before
            assert error == FAULTS[name] or retired == len(code)
        assert error in (FAULTS[name], Error.NONE)
        assert events == wanted[: len(events)], f"{name} in cycle {at}"
        if error:
            assert index == retired
            codes.add(error)
        else:
            assert len(events) == len(wanted)
        await bench.pause()
        if trial % 5 == 0:
            await expect(bench, code, r, queues)
    assert len(codes) == len(FAULTS)


@cocotb.test()
async def first_fault_wins(dut):
    """An error that comes while a stopped program winds up does not replace the cause."""
    bench = Bench(dut)
    await bench.begin()
    rng = bench.rng
    code = [instruction(rng, Op.MEAN, tiles=0)]
    for at in range(4, 16):
        _, error, index = await bench.run(code, registers(rng, code), random_queues(rng), fault=("read1_error",), at=at)
        assert error in (Error.FIELD, Error.READ_GMEM1) and index == 0
        if error == Error.READ_GMEM1:
            assert at < bench.now - 2
        await bench.pause()


@cocotb.test()
async def unaligned_entry(dut):
    """The port ignores the low bits of an address: such a program would start in the middle of an instruction."""
    bench = Bench(dut)
    await bench.begin()
    code = random_code(bench.rng, 2)
    r = registers(bench.rng, code, program_size=1 << 12) | {"entry": 32}
    _, error, index = await bench.run(code, r, random_queues(bench.rng))
    assert (error, index) == (Error.PROGRAM_RANGE, 0)
