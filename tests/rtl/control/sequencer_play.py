"""The sequencer under cocotb: units, ports and the instruction fetch are played here, with random delays.

What may overlap, and how soon an instruction must start, is checked cycle by cycle.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, ReadWrite, RisingEdge

from hwgen.machine.interfaces import weight_numbers
from hwgen.machine.isa import BYTES, UNITS, Op, decode
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from tests.rtl.control.sequencer_model import UNIT, Programs

__all__ = ["ARGUMENTS", "FAULTS", "HW", "Bench"]

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
PORTS = ("engine", "norm", "router", "mover", "image", "load", "store")
DATA = ("image", "load", "store")
FAULTS = {f"read{number}_error": Error[f"READ_GMEM{number}"] for number in (1, *weight_numbers(HW))}
FAULTS |= {"write1_error": Error.WRITE_GMEM1}
PULSES = tuple(FAULTS)
FAULTS |= {"stop": Error.STOPPED}  # a level
CONTEXTS = 4
#: Cycles from taking an instruction to the first in which it may wait for units; from the last of what it waits for to
#: its start.
CHECK, FREED = 6, 4
NEVER = 1 << 60
#: Cycles that the arguments are there before the start.
ARGUMENTS = 3


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
        self.drive(rst=1, stop=0, error_code_clear=0, ports_idle=0, starved=0, weights_barred=0, unfinished=0)
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
                stop=fault == "stop" and cycle >= at,
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
                assert done_at == cycle - 1 or (cycle == 1 and image < 0), "done without clear"
                self.now = cycle
                return self.events, get("error_code"), get("error_index")
        raise AssertionError(f"not done after {cycle} cycles: {self.events[-3:]}")

    def faulty(self, cycle, at):
        """`at`: a cycle, or "answer": with the last response to a STORE."""
        return cycle == (self.units.writer if at == "answer" else at)

    async def pause(self):
        for _ in range(int(self.rng.integers(1, 4))):
            await RisingEdge(self.dut.clk)
            self.drive(start=0, stop=0, fetch_valid=0, fetch_exhausted=0, **dict.fromkeys(PULSES, 0))
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
