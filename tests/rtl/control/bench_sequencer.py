"""cocotb bench of the sequencer: units, ports and the instruction fetch are played here, with random delays.

A run gives a list of events (commands, instructions dispatched), compared with a model. What may overlap, and how soon
an instruction must start, is checked cycle by cycle.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, ReadWrite, RisingEdge

from hwgen.machine.isa import BYTES, UNITS, Op, decode
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from tests.rtl.control.sequencer_model import MASK, UNIT, Programs, Routing

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
PORTS = ("engine", "norm", "router", "mover", "image", "load", "store")
DATA = ("image", "load", "store")
PULSES = ("read0_error", "read1_error", "write1_error")
FAULTS = {"read0_error": Error.READ_GMEM0, "read1_error": Error.READ_GMEM1, "write1_error": Error.WRITE_GMEM1}
CONTEXTS = 4
STARVED_CYCLES = 1 << 16
#: Cycles from taking an instruction to the first in which it may wait for units; from the last of what it waits for to
#: its start.
CHECK, FREED = 6, 4
NEVER = 1 << 60
#: Cycles that the arguments are there before the start.
ARGUMENTS = 4


class Units:
    """The units at work. `active`: started and, in this cycle at the latest, done."""

    def __init__(self, rng, lengthy):
        self.rng, self.lengthy = rng, lengthy
        self.active = dict.fromkeys(UNITS, False)
        self.finish = dict.fromkeys(PORTS, NEVER)
        self.engine, self.unfinished = [], 0  # cycles in which its instructions end; their number
        self.writer, self.writer_was = -1, True  # idle from this cycle on; it was idle in the cycle before
        self.storing = False

    def done(self, cycle):
        """The ports whose `done` comes in this cycle."""
        return {port for port, at in self.finish.items() if at == cycle} | (
            {"engine"} if cycle in self.engine else set()
        )

    def holds(self, f):
        """The units that instruction `f` must wait for in this cycle."""
        own = UNIT.get(f["op"])
        full = own == "engine" and self.unfinished == CONTEXTS
        others = {
            unit for unit in list(UNITS)[1:] if self.active[unit] and (unit == own or not f.get(f"beside_{unit}", 0))
        }
        return others | ({"engine"} if full or self.unfinished > f.get("engine_lag", 0) else set())

    def start(self, cycle, port):
        end = cycle + 1 + int(self.rng.integers(self.lengthy))
        if port == "engine":
            self.engine.append(max([end, *(at + 1 for at in self.engine)]))
            return
        self.active["data" if port in DATA else port], self.finish[port] = True, end
        if port == "store":  # the last response may come before `done`
            self.writer = max(cycle + 1, end + int(self.rng.integers(-2, 15)))

    def next(self, cycle, started, data_done):
        """The cycle is over: `started` ports, `data_done` as the sequencer says."""
        done = self.done(cycle)
        for port in done - {"engine", *DATA}:
            self.active[port] = False
        if data_done:
            self.active["data"] = False
        for port in started:
            self.start(cycle, port)
        self.unfinished += ("engine" in started) - ("engine" in done)
        self.storing = (self.storing and not data_done) or "store" in done
        self.writer_was = cycle >= self.writer


class Held:
    """The instruction in the sequencer: `blocking` as of the cycle before; `freed`: the last cycle with any."""

    def __init__(self, word, cycle):
        self.f, self.taken, self.freed, self.blocking, self.ready = decode(word), cycle, 0, set(), 0


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, np.random.default_rng(cocotb.RANDOM_SEED)
        self.programs = Programs(HW, self.rng)

    def get(self, name):
        return int(getattr(self.dut, name).value)

    def drive(self, **values):
        for name, value in values.items():
            getattr(self.dut, name).value = value

    async def begin(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        self.drive(rst=1, starved=0, weights_barred=0, unfinished=0)
        names = "start", "fetch_valid", "fetch_exhausted", *PULSES, *(f"{port}_done" for port in PORTS)
        self.drive(**dict.fromkeys(names, 0))
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await ReadOnly()
        assert self.get("idle") and not self.get("running")

    async def run(self, code, r, routing, decisions, *, fault=None, at=None):
        """Start to `done`. `fault`: the name of a pulse, raised in cycle `at`. Returns events, error code, index."""
        rng, get = self.rng, self.get
        self.slow, lengthy = float(rng.choice([0.1, 0.5, 1.0, 1.0])), int(rng.choice([2, 15, 80]))
        self.units, self.held, self.command, self.fault = Units(rng, lengthy), None, None, fault
        self.events, self.executed, self.aborting = [], 0, False
        stream, pending = [], []
        cleared, done_at, idle_at, image, routed = False, None, NEVER, -1, 0
        for _ in range(ARGUMENTS):
            await RisingEdge(self.dut.clk)
            self.drive(start=0, **r)
        for cycle in range(500 * (len(code) + 2) * max(r["batch"], 1) + 2000):
            await RisingEdge(self.dut.clk)
            if cleared:  # the fetch and the units are reset
                stream, pending, self.units, self.held, cleared = [], [], Units(rng, lengthy), None, False
            units = self.units
            valid = bool(stream) and stream[0] is not None and rng.random() < self.slow
            decision = bool(pending) and rng.random() < self.slow
            done = units.done(cycle)
            self.drive(
                start=cycle == 0,
                fetch_valid=valid,
                fetch_data=int.from_bytes(stream[0] if valid else rng.bytes(BYTES), "little"),
                fetch_exhausted=bool(stream) and stream[0] is None,
                decision_valid=decision,
                decision_fetched=pending[0] if decision else int(rng.integers(2)),
                read_ready=int(rng.random() < self.slow),
                write_ready=int(rng.random() < self.slow),
                unfinished=units.unfinished,
                ports_idle=self.aborting and cycle >= idle_at,
                writer_idle=cycle >= units.writer,
                **{f"{port}_done": port in done for port in PORTS},
                **{name: name == fault and self.faulty(cycle, at) for name in PULSES},
            )
            await ReadWrite()
            expert = get("instruction") >> 8 & 255
            noise = int(rng.integers(HW.max_tokens + 1))
            self.drive(queue_length=noise if units.active["router"] else routing.length(routed, expert))
            await ReadOnly()

            assert get("idle") == (cycle == 0) or get("done")
            if cycle:
                assert get("running") == (not get("done"))
            if get("fetch_start"):
                assert not self.aborting
                image, self.executed = image + 1, 0
                self.events.append(("fetch", get("fetch_address"), get("fetch_limit")))
                stream = code[: min(get("fetch_limit") // BYTES, len(code))] + [None]
                pending = list(decisions[image])
            assert get("wait_fetch") == (get("fetch_ready") and not valid)
            self.commands(cycle)
            self.order(cycle, decision)
            if get("abort") and not self.aborting:
                self.aborting, idle_at, self.held = True, cycle + int(rng.integers(12)), None
            assert get("abort") == self.aborting, "abort was let go"
            started = [port for port in PORTS if get(f"{port}_start")]
            answered = cycle >= units.writer and units.writer_was
            assert get("data_done") == bool(done & {"image", "load"} or (units.storing and answered))
            units.next(cycle, started, get("data_done"))
            routed += "router" in started
            if get("decision_ready") and decision:
                pending.pop(0)
            if valid and get("fetch_ready"):
                self.held = Held(stream.pop(0), cycle)
            if get("clear"):
                assert self.aborting and cycle > idle_at, "cleared before the ports were idle"
                self.aborting, cleared, done_at = False, True, cycle
            if get("done"):
                assert done_at == cycle - 1, "done without clear"
                self.now = cycle
                return self.events, get("error_code"), get("error_index")
        raise AssertionError(f"not done after {cycle} cycles: {self.events[-3:]}")

    def faulty(self, cycle, at):
        """`at`: a cycle, or "answer": with the last response to a STORE."""
        return cycle == (self.units.writer if at == "answer" else at)

    async def pause(self):
        for _ in range(int(self.rng.integers(1, 4))):
            await RisingEdge(self.dut.clk)
            self.drive(start=0, fetch_valid=0, fetch_exhausted=0, **dict.fromkeys(PULSES, 0))
            await ReadOnly()
            assert self.get("idle") and not any(
                self.get(name) for name in ("done", "executed", "abort", "clear", "running", "fetch_start", "busy")
            )

    def commands(self, cycle):
        """Of the data ports: shown until taken."""
        get = self.get
        for kind in ("read", "write"):
            if get(f"{kind}_valid"):
                tag = (get("read_tag"),) if kind == "read" else ()
                now = (kind, get(f"{kind}_address"), get("data_bytes"), *tag)
                assert self.command in (None, now), "the command changed before it was taken"
                self.command = now
                if int(getattr(self.dut, f"{kind}_ready").value):
                    self.events.append(now)
                    self.command = None
                    if self.held:
                        self.held.ready = cycle + 2
                    if kind == "write":
                        self.units.writer = NEVER
            elif self.command is not None and self.command[0] == kind:
                assert self.fault, "a command was withdrawn"
                self.command = None

    def order(self, cycle, decision):
        """The instruction held starts when all that it waits for is done, soon after, and says meanwhile why not."""
        get, units, held = self.get, self.units, self.held
        busy = {unit for number, unit in enumerate(UNITS) if get("busy") >> number & 1}
        assert busy == {unit for unit in UNITS if units.active[unit]} | ({"engine"} if units.unfinished else set())
        waits = {unit for unit in UNITS if get(f"wait_{unit}")}
        started = tuple(port for port in PORTS if get(f"{port}_start"))
        if held is None:
            assert not waits and not get("executed") and not started
            return
        f = held.f
        if not self.fault:
            assert waits == (held.blocking if cycle >= held.taken + CHECK and not get("abort") else set())
        held.blocking = units.holds(f)
        if held.blocking:
            held.freed = cycle
        due = max(held.taken + CHECK + 1, held.freed + FREED - 1)
        weights = f["op"] == Op.MATMUL and f["bytes"]
        data = f["op"] in list(Op) and UNIT.get(Op(f["op"])) == "data"
        if cycle == due and not self.fault:
            assert not data or get("write_valid" if f["op"] == Op.STORE else "read_valid")
            assert not weights or get("decision_ready")
        if weights and decision and get("decision_ready"):
            held.ready = cycle + 1
        if not get("executed"):
            assert not started
            return
        assert not held.blocking, f"{Op(f['op']).name} beside {held.blocking}"
        assert self.fault or cycle <= max(due + 1, held.ready), f"{Op(f['op']).name} late"
        assert self.fault or f["op"] == Op.END or get("fetch_ready")
        rows = get("rows") if "row_end" in f or f.get("use_queue") else None
        word = get("instruction").to_bytes(BYTES, "little")
        self.events.append(("run", get("number"), started, word, rows, get("fetched")))
        self.held, self.executed = None, self.executed + 1


async def expect(bench, code, r, routing=None):
    routing = routing or Routing(HW, bench.rng)
    wanted, stop, decisions = routing.run(code, r)
    events, *got_stop = await bench.run(code, r, routing, decisions)
    for got, want in zip(events, wanted):
        assert got == want
    assert len(events) == len(wanted), f"{events[len(wanted) :]} instead of {wanted[len(events) :]}"
    assert tuple(got_stop) == stop, f"{Error(got_stop[0])!r} at {got_stop[1]} instead of {stop}"
    await bench.pause()


@cocotb.test()
async def programs(dut):
    bench = Bench(dut)
    await bench.begin()
    programs = bench.programs
    for trial in range(25):
        code = programs.code(int(bench.rng.integers(0, 40)))
        await expect(bench, code, programs.registers(code, entry=64 * int(bench.rng.integers(5)) if trial else 0))
    for fill in (0, HW.max_tokens):
        code = [programs.instruction(op) for op in [*list(Op)[1:], Op.END]]
        await expect(bench, code, programs.registers(code), Routing(HW, bench.rng, fill))


@cocotb.test()
async def pairs(dut):
    """Each opcode beside each other one, with the bit that allows it and without; END beside all."""
    bench = Bench(dut)
    await bench.begin()
    ops = [op for op in Op if op != Op.END]
    for allowed in (0, 1):
        fields = {f"beside_{unit}": allowed for unit in list(UNITS)[1:]} | {"engine_lag": 7 * allowed}
        code = []
        for first in ops:
            for second in ops:
                code += [bench.programs.instruction(first, **fields), bench.programs.instruction(second, **fields)]
        await expect(bench, [*code, bench.programs.instruction(Op.END)], bench.programs.registers([*code, b""]))


@cocotb.test()
async def batches(dut):
    bench = Bench(dut)
    await bench.begin()
    programs = bench.programs
    for batch in (0, 2, 5):
        code = programs.code(8)
        code = [programs.instruction(Op.IMAGE), *code[:-1], programs.instruction(Op.STORE), code[-1]]
        strides = {"input_stride": 640, "output_stride": 1 << 12}
        r = programs.registers(code, batch=batch, output_size=1 << 16, input_size=1 << 16, **strides)
        await expect(bench, code, r | {"input_base": MASK - 1087})
    # The region ends within the third image, and with strides beyond 32 bits in all.
    code = [programs.instruction(Op.NORM), programs.instruction(Op.IMAGE, offset=64, bytes=100), code[-1]]
    for size in (163 + 1280, 164 + 1280):
        await expect(bench, code, programs.registers(code, batch=3, input_stride=640, input_size=size))
    r = programs.registers(code, batch=4, input_stride=0xFFFF_FFC0, input_size=0xFFFF_FFFF)
    await expect(bench, code, r)


@cocotb.test()
async def ranges(dut):
    """Each region to its last byte, and a byte less; then the next run is a good one."""
    bench = Bench(dut)
    await bench.begin()
    programs = bench.programs
    weights = {"use_queue": 0, "scatter": 0, "expert": 0, "bytes": 0, "row_end": 3}  # kept ones: none are fetched
    for op, region, more in (
        (Op.IMAGE, "input", {}),
        (Op.LOAD, "weights", {}),
        (Op.MATMUL, "weights", {"bytes": 27 * HW.ring_bytes}),
        (Op.STORE, "output", {}),
    ):
        code = [programs.instruction(Op.MEAN), programs.instruction(op, **more), programs.instruction(Op.END)]
        f = decode(code[1])
        for size in (f["offset"] + f["bytes"], f["offset"] + f["bytes"] - 1, 0):
            await expect(bench, code, programs.registers(code, **{f"{region}_size": size}))
        huge = [programs.instruction(op, offset=0xFFFF_FFC0, **more), code[2]]  # offset + bytes exceeds 32 bits
        await expect(bench, huge, programs.registers(huge, **{f"{region}_size": 0xFFFF_FFFF}))
        await expect(bench, code, programs.registers(code))
    code = [programs.instruction(Op.MATMUL, offset=0, **weights), programs.instruction(Op.END)]
    await expect(bench, code, programs.registers(code, weights_size=0))


@cocotb.test()
async def illegal(dut):
    bench = Bench(dut)
    await bench.begin()
    programs = bench.programs
    for bad in (bytes(BYTES), bytes([11]) + bytes(63), b"\xff" * BYTES, programs.instruction(Op.MEAN, tiles=0)):
        for before in (0, 1, 6):
            code = [*programs.code(before, end=False), bad, *programs.code(2)]
            await expect(bench, code, programs.registers(code))
    # Not a whole instruction is left; no END; an entry behind the program.
    code = programs.code(4, end=False)
    for cut in (0, 1, 63, 64):
        r = programs.registers(code)
        await expect(bench, code, r | {"program_size": r["program_size"] - cut})
    for entry in (64, 640):
        await expect(bench, code, programs.registers(code, entry=entry, program_size=64))
    await expect(bench, code, programs.registers(code, program_size=0))
    code = programs.code(3)
    await expect(bench, code, programs.registers(code))


@cocotb.test()
async def port_faults(dut):
    """At any moment: nothing new starts, the ports come to rest, the units are reset; afterwards all is well."""
    bench = Bench(dut)
    await bench.begin()
    rng, codes = bench.rng, set()
    for trial in range(90):
        code = bench.programs.code(int(rng.integers(1, 8)))
        r, routing = bench.programs.registers(code), Routing(HW, rng)
        wanted, _, decisions = routing.run(code, r)
        name = list(FAULTS)[trial % len(FAULTS)]
        at = int(rng.integers(2, 80))
        events, error, index = await bench.run(code, r, routing, decisions, fault=name, at=at)
        ended = bench.executed == len(code)
        if bench.now > at + 12 + 15:  # else the program may have come to its end before
            assert error == FAULTS[name] or ended
        assert error in (FAULTS[name], Error.NONE)
        assert events == wanted[: len(events)], f"{name} in cycle {at}"
        if error:
            assert index == bench.executed
            codes.add(error)
        else:
            assert len(events) == len(wanted)
        await bench.pause()
        if trial % 5 == 0:
            await expect(bench, code, r, routing)
    assert len(codes) == len(FAULTS)


@cocotb.test()
async def last_response(dut):
    """An error in the last response to a STORE is known before the program is over."""
    bench = Bench(dut)
    await bench.begin()
    code = [bench.programs.instruction(Op.STORE), bench.programs.instruction(Op.END)]
    for _ in range(12):
        r, routing = bench.programs.registers(code), Routing(HW, bench.rng)
        _, error, index = await bench.run(code, r, routing, [[]], fault="write1_error", at="answer")
        assert (error, index) == (Error.WRITE_GMEM1, 1)
        await bench.pause()


@cocotb.test()
async def first_fault_wins(dut):
    """An error that comes while a stopped program winds up does not replace the cause."""
    bench = Bench(dut)
    await bench.begin()
    code = [bench.programs.instruction(Op.MEAN, tiles=0)]
    for at in range(4, 16):
        r, routing = bench.programs.registers(code), Routing(HW, bench.rng)
        _, error, index = await bench.run(code, r, routing, [[]], fault="read1_error", at=at)
        assert error in (Error.FIELD, Error.READ_GMEM1) and index == 0
        if error == Error.READ_GMEM1:
            assert at < bench.now - 2
        await bench.pause()


@cocotb.test()
async def unaligned_entry(dut):
    """The port ignores the low bits of an address: such a program would start in the middle of an instruction."""
    bench = Bench(dut)
    await bench.begin()
    code = bench.programs.code(2)
    r = bench.programs.registers(code, program_size=1 << 12) | {"entry": 32}
    _, error, index = await bench.run(code, r, Routing(HW, bench.rng), [[]])
    assert (error, index) == (Error.PROGRAM_RANGE, 0)


@cocotb.test()
async def starved(dut):
    """Weights that nobody asked for: an error, but not as long as any may still come."""
    bench = Bench(dut)
    await bench.begin()
    code = [bench.programs.instruction(Op.ATTENTION, engine_lag=0), bench.programs.instruction(Op.END)]
    word = int.from_bytes(code[0], "little")
    await RisingEdge(dut.clk)
    bench.drive(ports_idle=1, writer_idle=1, **bench.programs.registers(code))
    await ClockCycles(dut.clk, ARGUMENTS)
    bench.drive(start=1)
    await RisingEdge(dut.clk)
    bench.drive(start=0, fetch_valid=1, fetch_data=word)
    for _ in range(50):
        await ReadOnly()
        started = bench.get("engine_start")
        await RisingEdge(dut.clk)
        if started:
            break
    assert started
    bench.drive(fetch_valid=0, unfinished=1, starved=1, weights_barred=0)
    for inputs, cycles in (
        ({}, STARVED_CYCLES + 10),
        ({"weights_barred": 1}, STARVED_CYCLES - 10),
        ({"starved": 0}, 1),
        ({"starved": 1}, STARVED_CYCLES - 10),
        ({"weights_barred": 0}, 1),
        ({"weights_barred": 1}, STARVED_CYCLES - 2),
    ):
        bench.drive(**inputs)
        await ClockCycles(dut.clk, cycles)
        await ReadOnly()
        assert bench.get("running") and not bench.get("abort"), inputs
        await RisingEdge(dut.clk)
    for _ in range(10):
        await RisingEdge(dut.clk)
        await ReadOnly()
    assert bench.get("idle") and (bench.get("error_code"), bench.get("error_index")) == (Error.STARVED, 1)
