"""cocotb bench of Control: cocotbext-axi's AXI4-Lite master with random pauses, and the ap_ctrl_hs protocol by hand."""

import itertools
import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, Combine, RisingEdge, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from hwgen.machine.params import HwParams
from hwgen.machine.regmap import ADDRESS_BITS, BY_NAME, registers
from hwgen.machine.regmap import COUNTERS as ALL_COUNTERS
from tests.rtl.ports import Ports, reset

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
HW = HwParams(**P.get("p", {}))
REGISTERS = registers(HW)
COUNTERS = [register.name for register in REGISTERS if register.name in ALL_COUNTERS]
BUS = "s_axi_control"
INPUTS = [register.name for register in REGISTERS if register.access in ("ro", "clear")]
ARGUMENTS = [register for register in REGISTERS if register.access == "rw"]
SIGNALS = [f"{BUS}_{name}" for name in ("AWVALID", "WVALID", "BREADY", "ARVALID", "RREADY")]
CTRL, GIE, IER, ISR = 0, 4, 8, 12
START, DONE, IDLE, READY, AUTO, STOP = 1, 2, 4, 8, 128, 256
ERROR_CODE = BY_NAME["error_code"].offset


async def setup(dut, pause=0.0):
    """Ports, a master that pauses on each channel with probability `pause`, and a random generator."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    ports = Ports(dut)
    await reset(dut, ports, **dict.fromkeys([*SIGNALS, *INPUTS, "done", "ready"], 0), idle=1)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, BUS), dut.clk)
    if pause:
        write, read = master.write_if, master.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
            channel.set_pause_generator(bool(rng.random() < pause) for _ in itertools.count())
    await RisingEdge(dut.clk)
    return ports, master, rng


async def pulse(dut, ports, *names):
    ports.set(**dict.fromkeys(names, 1))
    await RisingEdge(dut.clk)
    ports.set(**dict.fromkeys(names, 0))


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def arguments(dut, pause):
    """Random bytes anywhere among the arguments (so: strobes), read back over the bus and at the ports."""
    ports, master, rng = await setup(dut, pause)
    model = {r.offset + byte: 0 for r in ARGUMENTS for byte in range(4 * r.words)}
    for register in ARGUMENTS:
        assert ports.get(register.name) == 0
    for _ in range(60):
        at = int(rng.choice(list(model)))
        most = next(count for count in range(1, 9) if count == 8 or at + count not in model)
        data = rng.integers(0, 256, int(rng.integers(1, most + 1)), dtype=np.uint8).tobytes()
        model |= {at + byte: value for byte, value in enumerate(data)}
        await master.write(at, data)
    for register in ARGUMENTS:
        wanted = bytes(model[register.offset + byte] for byte in range(4 * register.words))
        assert (await master.read(register.offset, len(wanted))).data == wanted
    for register in ARGUMENTS:
        value = sum(model[register.offset + byte] << 8 * byte for byte in range(register.bits // 8))
        assert ports.get(register.name) == value, register.name


@cocotb.test()
async def reads_and_writes_at_once(dut):
    """Both directions back to back; every read sees the old or the new value."""
    ports, master, rng = await setup(dut, 0.3)
    offset = BY_NAME["entry"].offset
    values = [int(v) for v in rng.integers(1, 1 << 32, 50)]

    async def write():
        for value in values:
            await master.write_dword(offset, value)

    async def read():
        seen = [await master.read_dword(offset) for _ in values]
        places = [([0, *values]).index(value) for value in seen]
        assert places == sorted(places) and places[-1] > 0

    await Combine(cocotb.start_soon(write()), cocotb.start_soon(read()))
    assert ports.get("entry") == values[-1]


@cocotb.test()
@cocotb.parametrize(data_first=[0, 1, 2])
async def either_order(dut, data_first):
    """Data before, after and together with its address, by hand; the response waits until it is taken."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    ports = Ports(dut)
    await reset(dut, ports, **dict.fromkeys([*SIGNALS, *INPUTS, "done", "ready"], 0), idle=1)
    set_ = {name: lambda v, name=name: ports.set(**{f"{BUS}_{name}": v}) for name in
            ("AWVALID", "AWADDR", "WVALID", "WDATA", "WSTRB", "BREADY")}  # fmt: skip

    async def offer(channel, wait):
        await ClockCycles(dut.clk, wait + 1)
        set_[f"{channel}VALID"](1)
        await RisingEdge(dut.clk)
        while not ports.get(f"{BUS}_{channel}READY"):
            await RisingEdge(dut.clk)
        set_[f"{channel}VALID"](0)

    for _ in range(5):
        value = int(rng.integers(1 << 32))
        set_["AWADDR"](BY_NAME["batch"].offset)
        set_["WDATA"](value)
        set_["WSTRB"](15)
        waits = {0: (0, 4), 1: (4, 0), 2: (0, 0)}[data_first]
        await Combine(cocotb.start_soon(offer("AW", waits[0])), cocotb.start_soon(offer("W", waits[1])))
        await ClockCycles(dut.clk, int(rng.integers(2, 6)))
        assert ports.get(f"{BUS}_BVALID") and ports.get(f"{BUS}_BRESP") == 0
        assert ports.get("batch") == value
        set_["BREADY"](1)
        await RisingEdge(dut.clk)
        set_["BREADY"](0)
        await RisingEdge(dut.clk)
        assert not ports.get(f"{BUS}_BVALID")


@cocotb.test()
async def read_only(dut):
    ports, master, rng = await setup(dut)
    assert bytes((await master.read(BY_NAME["magic"].offset, 4)).data) == b"HWGN"
    assert await master.read_dword(BY_NAME["shape"].offset) == HW.t | HW.c << 8 | HW.k << 16
    buses = HW.weight_bus // HW.weight_ports | HW.weight_ports << 12 | HW.data_bus << 16
    assert await master.read_dword(BY_NAME["buses"].offset) == buses
    assert await master.read_qword(BY_NAME["build_hash"].offset) == P["hash"]
    for register in REGISTERS:
        if register.name in INPUTS:
            value = int(rng.integers(0, 1 << register.bits))
            ports.set(**{register.name: value})
            await master.write(register.offset, bytes([0xFF] * 4 * register.words))
            got = int.from_bytes((await master.read(register.offset, 4 * register.words)).data, "little")
            assert got == value, register.name
    used = {r.offset + 4 * w for r in REGISTERS for w in range(r.words)}
    for offset in set(range(0, 1 << ADDRESS_BITS, 4)) - used:
        await master.write_dword(offset, 0xFFFFFFFF)
        assert await master.read_dword(offset) == 0
    assert not any(ports.get(register.name) for register in ARGUMENTS), "a word beside an argument is one of its own"


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def live_counters(dut, pause):
    """Counters that run while they are read, across carries into the upper word: no pair is of two moments.

    Whatever was read in between: arguments and constants, or another counter's words.
    """
    ports, master, rng = await setup(dut, pause)
    at = {name: BY_NAME[name].offset for name in COUNTERS}
    count = dict.fromkeys(at, (1 << 32) - 40)

    async def run():
        while True:
            await RisingEdge(dut.clk)
            for name in count:
                count[name] += 1 if rng.random() < 0.9 else 1 << 30
                count[name] %= 1 << 48
            ports.set(**count)

    cocotb.start_soon(run())
    carried = 0
    for name in rng.choice(list(at), 120):
        for _ in range(rng.integers(1, 3)):  # twice: the first has kept the word beside it
            early = count[name]
            low = await master.read_dword(at[name])
            late = count[name]
        if rng.random() < 0.5:  # of a register that is no counter
            await master.read_dword(int(rng.choice([BY_NAME["magic"].offset, BY_NAME["input_base"].offset + 4])))
        high = await master.read_dword(at[name] + 4)
        carried += late >> 32 != count[name] >> 32
        assert early <= (low | high << 32) <= late, name
        before = count[name] >> 32
        again = await master.read_dword(at[name] + 4)  # kept for one read only
        assert before <= again <= count[name] >> 32, name
    assert carried > 20
    names = list(at)[:2]
    await master.read_dword(at[names[0]])
    await master.read_dword(at[names[1]])
    early = count[names[0]] >> 32
    assert early <= await master.read_dword(at[names[0]] + 4) <= count[names[0]] >> 32, "kept of another counter"


class Starts:
    """Counts `start` pulses; a `prompt` machine answers them by not being idle in the next cycle."""

    def __init__(self, dut, ports, prompt=True):
        self.dut, self.ports, self.prompt, self.count = dut, ports, prompt, 0

    async def run(self):
        while True:
            await RisingEdge(self.dut.clk)
            if self.ports.get("start"):
                self.count += 1
                if self.prompt:
                    self.ports.set(idle=0)

    async def finish(self):
        """The machine's part: done and ready together, idle one cycle later."""
        await pulse(self.dut, self.ports, "done", "ready")
        self.ports.set(idle=1)
        await ClockCycles(self.dut.clk, 4)


@cocotb.test()
async def run_once(dut):
    ports, master, _ = await setup(dut)
    starts = Starts(dut, ports)
    cocotb.start_soon(starts.run())
    assert await master.read_dword(CTRL) == IDLE
    await master.write_dword(CTRL, 0)
    await master.write(CTRL + 1, bytes([1]))  # not the byte of the start bit
    await ClockCycles(dut.clk, 4)
    assert starts.count == 0
    await master.write_dword(CTRL, START)
    await ClockCycles(dut.clk, 10)
    assert starts.count == 1
    assert await master.read_dword(CTRL) == START
    await master.write_dword(CTRL, START)  # while running: no second run
    await starts.finish()
    assert starts.count == 1
    assert await master.read_dword(CTRL) == DONE | IDLE | READY
    assert await master.read_dword(CTRL) == IDLE, "done is cleared by reading"
    assert not ports.get("interrupt")


@cocotb.test()
async def slow_machine(dut):
    """`idle` of the machine falls late and rises late: one start pulse, no idle seen while it runs."""
    ports, master, _ = await setup(dut)
    starts = Starts(dut, ports, prompt=False)
    cocotb.start_soon(starts.run())
    await master.write_dword(CTRL, START | AUTO)
    for expected in (1, 2):
        for _ in range(5):
            assert not await master.read_dword(CTRL) & IDLE
        assert starts.count == expected
        ports.set(idle=0)
        await pulse(dut, ports, "done", "ready")
        await ClockCycles(dut.clk, 5)
        assert starts.count == expected, "started before the machine was idle"
        assert not await master.read_dword(CTRL) & IDLE
        ports.set(idle=1)
        await ClockCycles(dut.clk, 3)
    assert starts.count == 3


@cocotb.test()
async def auto_restart(dut):
    ports, master, _ = await setup(dut)
    starts = Starts(dut, ports)
    cocotb.start_soon(starts.run())
    await master.write_dword(CTRL, START | AUTO)
    for expected in (1, 2, 3):
        await ClockCycles(dut.clk, 5)
        assert starts.count == expected
        await starts.finish()
    await ClockCycles(dut.clk, 3)
    assert starts.count == 4
    await master.write_dword(CTRL, 0)
    await starts.finish()
    assert starts.count == 4
    assert await master.read_dword(CTRL) == DONE | IDLE | READY


@cocotb.test()
async def error_ends_restarts(dut):
    """The run that failed is the last one; its code stays until it is written."""
    ports, master, _ = await setup(dut)
    starts = Starts(dut, ports)
    cocotb.start_soon(starts.run())
    await master.write_dword(CTRL, START | AUTO)
    await ClockCycles(dut.clk, 5)
    await starts.finish()
    assert starts.count == 2
    ports.set(error_code=9)
    await starts.finish()
    await ClockCycles(dut.clk, 20)
    assert starts.count == 2
    assert await master.read_dword(CTRL) == DONE | IDLE | READY | AUTO, "start has fallen"
    assert await master.read_dword(ERROR_CODE) == 9
    clears = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            clears.append(ports.get("error_code_clear"))

    cocotb.start_soon(watch())
    await master.write_dword(ERROR_CODE + 4, 0)
    assert not any(clears)
    await master.write_dword(ERROR_CODE, 0)
    assert sum(clears) == 1
    ports.set(error_code=0)
    await master.write_dword(CTRL, START | AUTO)
    await ClockCycles(dut.clk, 5)
    await starts.finish()
    assert starts.count == 4


@cocotb.test()
async def stop(dut):
    """Of a run that is under way or due: level until it has ended, and no run after it."""
    ports, master, _ = await setup(dut)
    starts = Starts(dut, ports)
    cocotb.start_soon(starts.run())
    await master.write_dword(CTRL, STOP)
    await ClockCycles(dut.clk, 4)
    assert not ports.get("stop") and await master.read_dword(CTRL) == IDLE, "nothing to stop"
    for auto in (0, AUTO):
        count = starts.count
        await master.write_dword(CTRL, START | STOP | auto)
        await ClockCycles(dut.clk, 4)
        assert starts.count == count + 1 and not ports.get("stop"), "the run came after the write"
        await master.write(CTRL, bytes([START | auto]))  # the byte without the stop bit
        assert not ports.get("stop")
        await master.write_dword(CTRL, STOP | auto)
        await ClockCycles(dut.clk, 2)
        assert ports.get("stop") and await master.read_dword(CTRL) == START | STOP | auto
        await starts.finish()  # without an error: it came too late for that
        await ClockCycles(dut.clk, 10)
        assert not ports.get("stop") and starts.count == count + 1
        assert await master.read_dword(CTRL) == DONE | IDLE | READY | auto


@cocotb.test()
async def stop_is_never_lost(dut):
    """In every cycle relative to the end of a run that restarts: none follows, or the one that does is told."""
    ports, master, _ = await setup(dut)
    starts = Starts(dut, ports)
    cocotb.start_soon(starts.run())
    seen = set()
    for delay in range(12):
        await master.write_dword(CTRL, START | AUTO)
        await ClockCycles(dut.clk, 6)
        count = starts.count
        task = cocotb.start_soon(master.write_dword(CTRL, STOP | AUTO))
        await ClockCycles(dut.clk, delay)
        await starts.finish()
        await task
        await ClockCycles(dut.clk, 6)
        restarted = starts.count - count
        seen.add(restarted)
        assert bool(ports.get("stop")) == bool(restarted), delay
        if restarted:
            await starts.finish()
            await ClockCycles(dut.clk, 6)
        assert starts.count == count + restarted and await master.read_dword(CTRL) & (IDLE | START | STOP) == IDLE
    assert seen == {0, 1}


@cocotb.test()
async def done_is_never_lost(dut):
    """done in every cycle relative to a read of ctrl: exactly one read sees it."""
    ports, master, _ = await setup(dut)
    for delay in range(12):

        async def later(delay=delay):
            await ClockCycles(dut.clk, delay + 1)
            await pulse(dut, ports, "done")

        task = cocotb.start_soon(later())
        seen = [(await master.read_dword(CTRL)) & DONE for _ in range(6)]
        await task
        seen.append(await master.read_dword(CTRL) & DONE)
        assert sum(bool(s) for s in seen) == 1


@cocotb.test()
async def interrupts(dut):
    ports, master, _ = await setup(dut)

    async def interrupt():
        await ClockCycles(dut.clk, 3)
        return ports.get("interrupt")

    await pulse(dut, ports, "done", "ready")
    assert await master.read_dword(ISR) == 0, "not enabled, not recorded"
    for enabled, name in ((1, "done"), (2, "ready")):
        await master.write_dword(IER, enabled)
        assert await master.read_dword(IER) == enabled
        await pulse(dut, ports, "done", "ready")
        assert await master.read_dword(ISR) == enabled, name
        assert not await interrupt(), "globally disabled"
        await master.write_dword(GIE, 1)
        assert await interrupt()
        await master.write_dword(ISR, 3 - enabled)  # toggles the other bit on
        assert await master.read_dword(ISR) == 3
        await master.write_dword(ISR, 3)
        assert await master.read_dword(ISR) == 0
        assert not await interrupt()
        await master.write_dword(GIE, 0)
    await Timer(1, "ns")
