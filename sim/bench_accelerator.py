"""cocotb bench of the whole accelerator: registers, memory behind both AXI masters, interrupt, buffers at retirement.

The test `jobs` runs what `sim.cocotb_run` left in the working directory. `Bench` serves other benches, too.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, ReadOnly, RisingEdge, Timer, ValueChange
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiReadBus

from hwgen.machine.interfaces import numbered
from hwgen.machine.regmap import BY_NAME
from sim.bench_memory import Dram, ReadSlave, Region, WriteSlave
from sim.harness import Job, Probe, Timing
from sim.ports import PORTS, WEIGHTS, weight_shares
from sim.system import SystemJob, SystemResult, Workload

PERIOD = 10  # ns
CTRL = {part.name: 1 << part.lsb for part in BY_NAME["ctrl"].parts}
DONE = 1  # in the interrupt registers


class Bench:
    """Drives `dut`; jobs run one after another, with a reset only where a job says so."""

    def __init__(self, dut: Any, timing: Timing) -> None:
        self.dut, self.timing, self.rng = dut, timing, random.Random(timing.seed)
        self.dram = Dram()
        self.retired: list[int] = []
        self.dumps: dict[int, list[np.ndarray]] = {}
        self.probes: dict[int, list[Probe]] = {}
        self.handles: dict[str, Any] = {}

    async def start(self) -> None:
        """Clock, models, reset."""
        dut = self.dut
        logging.getLogger("cocotb").setLevel(logging.WARNING)
        Clock(dut.ap_clk, PERIOD, "ns").start()
        dut.ap_rst_n.value = 0
        reset = (dut.ap_clk, dut.ap_rst_n, False)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), *reset)
        gmem1 = AxiBus.from_prefix(dut, "m_axi_gmem1")
        self.weights = [port for port in WEIGHTS if hasattr(dut, f"{PORTS[port][0]}_ARVALID")]
        named = self.timing.weight_latency
        self.slaves: list[ReadSlave | WriteSlave] = [
            *(
                ReadSlave(AxiReadBus.from_prefix(dut, PORTS[port][0]), dut, self.dram, port,
                          partial(self.delay, named[number] if number < len(named) else None))
                for number, port in enumerate(self.weights)
            ),
            ReadSlave(gmem1.read, dut, self.dram, 1, self.delay),
            WriteSlave(gmem1.write, dut, self.dram, self.delay),
        ]  # fmt: skip
        for model in (*self.slaves, self.lite.write_if, self.lite.read_if):
            model.log.setLevel(logging.WARNING)
            for channel in (value for name, value in vars(model).items() if name.endswith("_channel")):
                channel.log.setLevel(logging.WARNING)
                if self.timing.stall_percent:
                    channel.set_pause_generator(self.pauses())
        if hasattr(dut, "debug_retire"):
            cocotb.start_soon(self._watch())
        await ClockCycles(dut.ap_clk, 10)
        dut.ap_rst_n.value = 1
        await ClockCycles(dut.ap_clk, 3)

    def delay(self, latency: int | None = None) -> int:
        """Around the latency asked for, if no other is given."""
        latency = self.timing.latency if latency is None else latency
        return self.rng.randint(latency // 2, latency + latency // 2 + self.timing.jitter)

    def pauses(self) -> Iterator[bool]:
        """Single stalls, and now and then a long one."""
        rng, chance = random.Random(self.rng.getrandbits(32)), self.timing.stall_percent / 100
        while True:
            if rng.random() < chance / 64:
                for _ in range(rng.randint(8, 40)):
                    yield True
            for _ in range(32):
                yield rng.random() < chance

    async def write(self, name: str, value: int) -> None:
        register = BY_NAME[name]
        for word in range(register.words):
            await self.lite.write_dword(register.offset + 4 * word, value >> 32 * word & 0xFFFFFFFF)

    async def read(self, name: str) -> int:
        register = BY_NAME[name]
        words = [await self.lite.read_dword(register.offset + 4 * word) for word in range(register.words)]
        return sum(word << 32 * index for index, word in enumerate(words))

    async def reset(self, cycles: int) -> None:
        await RisingEdge(self.dut.ap_clk)
        self.dut.ap_rst_n.value = 0
        await ClockCycles(self.dut.ap_clk, cycles)
        self.dut.ap_rst_n.value = 1
        await ClockCycles(self.dut.ap_clk, 3)

    async def _watch(self) -> None:
        """Note every retirement and copy the buffers probed at it: they stay as they are until the next clock edge.

        No unit retires in two consecutive cycles, so every set of units that do is a change.
        """
        while True:
            await ValueChange(self.dut.debug_retire)
            await ReadOnly()
            units, indices = int(self.dut.debug_retire.value), int(self.dut.debug_retire_index.value)
            for unit in range(units.bit_length() if int(self.dut.ap_rst_n.value) else 0):
                if units >> unit & 1:
                    self._retire(indices >> 16 * unit & 0xFFFF)

    def _retire(self, index: int) -> None:
        self.retired.append(index)
        if index in self.probes:
            self.dumps[index] = [self._words(probe) for probe in self.probes[index]]

    def _words(self, probe: Probe) -> np.ndarray:
        if probe.path not in self.handles:
            handle = self.dut
            for name in probe.path.split(".")[1:]:
                handle = getattr(handle, name)
            self.handles[probe.path] = handle.mem
        memory, size = self.handles[probe.path], -(-probe.width // 8)
        words = (known(memory[address].value) for address in range(probe.first, probe.first + probe.count))
        data = b"".join(word.to_bytes(size, "little") for word in words)
        return np.frombuffer(data, np.uint8).reshape(probe.count, size)

    def place(self, job: Job, program: bytes, weights: bytes) -> dict[str, int]:
        """New regions for a job, and the registers that describe them."""
        shares = weight_shares(weights, (len(self.dut.m_axi_gmem0_RDATA) // 8,) * len(self.weights))
        output = self.rng.randbytes(max(job.output_bytes, 1))
        data = {"program": program, "weights": shares[0], "input": job.input, "output": output}
        data |= {numbered("weights", port): share for port, share in enumerate(shares)}
        slots = self.rng.sample(range(8), len(data))
        self.dram.regions = {
            name: Region(name, slot, self.rng, content)
            for slot, (name, content) in zip(slots, data.items(), strict=True)
        }
        for fault in getattr(job, "faults", ()):
            self.dram.regions[fault.region].faults.append((fault.port, fault.offset, fault.response))
        values = {f"{name}_base": self.dram.regions[name].base for name in ("program", "input", "output")}
        for port in range(len(shares)):
            values[numbered("weights_base", port)] = self.dram.regions[numbered("weights", port)].base
        values |= {"program_size": len(program), "weights_size": sum(map(len, shares)), "input_size": len(job.input)}
        values |= {"output_size": job.output_bytes, "entry": job.entry, "batch": job.batch}
        values |= {"watchdog": job.watchdog}
        values |= {"input_stride": job.input_stride, "output_stride": job.output_stride}
        return values | dict(getattr(job, "registers", {}))

    async def run(self, job: Job, work: Workload) -> SystemResult:
        """One job from its arguments to the cleared interrupt. Raises TimeoutError when it does not end."""
        dram, dut = self.dram, self.dut
        result = SystemResult(violations=dram.violations)
        if any(dram.bytes):  # since the last interrupt
            dram.violations.append(f"bus traffic {dram.bytes} without a run")
        values = self.place(job, *(job.memory or (work.program, work.weights)))
        for name, value in values.items():
            await self.write(name, value)
        await self.write("gie", 1)
        await self.write("ier", DONE)
        await self._expect("ctrl", CTRL["idle"])
        self.retired, self.dumps = [], {}
        self.probes = {index: list(probes) for index, probes in work.probes.get(job.probes or "", {}).items()}
        dram.bytes[:], dram.written = [0] * len(PORTS), set()
        dram.countdown = dict([job.fault]) if job.fault else {}

        start = get_sim_time("ns")
        await self.write("ctrl", CTRL["start"])
        result.start_cycles = round((get_sim_time("ns") - start) / PERIOD)
        limit = Timer(self.timing.watchdog * PERIOD, "ns")
        if isinstance(job, SystemJob) and job.reset_after is not None:
            limit = Timer(job.reset_after * PERIOD, "ns")
        if int(dut.interrupt.value) == 0 and await First(finished := RisingEdge(dut.interrupt), limit) is not finished:
            if isinstance(job, SystemJob) and job.reset_after is not None:
                await self.reset(job.reset_cycles)
                dram.bytes[:], dram.violations = [0] * len(PORTS), []
                for name in ("isr", "gie", "entry", "error_code", "error_index"):
                    await self._expect(name, 0, result)
                result.interrupted, result.retired = True, self.retired
                return result
            last = self.retired[-1] if self.retired else "none"
            raise TimeoutError(f"no end after {self.timing.watchdog} cycles; the last instruction completed was {last}")
        result.cycles = round((get_sim_time("ns") - start) / PERIOD)
        result.bytes, result.retired, result.dumps = dram.bytes.copy(), self.retired, self.dumps
        dram.bytes[:] = [0] * len(PORTS)
        if not all(slave.idle for slave in self.slaves):
            dram.violations.append("interrupt before all bus transactions were over")
        await self._finish(result)
        for name, offset in work.counters.items():
            low, high = await self.lite.read_dword(offset), await self.lite.read_dword(offset + 4)
            result.counters[name] = low | high << 32
        result.error, result.error_index = await self.read("error_code"), await self.read("error_index")
        result.output, result.written = bytes(dram.regions["output"].data[: job.output_bytes]), dram.written
        dram.violations = []
        return result

    async def _expect(self, name: str, value: int, result: SystemResult | None = None) -> None:
        found = await self.read(name)
        if found != value:
            where = self.dram.violations if result is None else result.violations
            where.append(f"register {name} must be 0x{value:x}, is 0x{found:x}")

    async def _finish(self, result: SystemResult) -> None:
        """Done and ready are cleared by reading, the interrupt by writing its status back."""
        await self._expect("ctrl", CTRL["done"] | CTRL["ready"] | CTRL["idle"])
        await self._expect("ctrl", CTRL["idle"])
        await self._expect("isr", DONE)
        await self.write("isr", DONE)
        await self._expect("isr", 0)
        if int(self.dut.interrupt.value):
            result.violations.append("the interrupt stays high after its status was cleared")


def known(value: Any) -> int:
    """Of a word, in which X stands for bits that hardly anything is equal to."""
    pairs = zip(str(value), itertools.cycle("10100110"))
    return int("".join(bit if bit in "01" else other for bit, other in pairs), 2)


@cocotb.test()
async def jobs(dut: Any) -> None:
    """The workload in the working directory; what could be run is in the results, and a text why not all."""
    work: Workload = pickle.loads(Path(Workload.FILE).read_bytes())
    bench = Bench(dut, work.timing)
    await bench.start()
    results, failure = [], None
    for job in work.jobs:
        try:
            results.append(await bench.run(job, work))
        except TimeoutError as error:
            failure = str(error)
            break
    Path(Workload.RESULTS).write_bytes(pickle.dumps((results, failure)))
