"""The block-level protocol on the whole accelerator: what a driver may rely on beyond one run after another."""

import pickle
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge, ValueChange, with_timeout

from hwgen.machine.isa import BYTES, Op
from hwgen.machine.regmap import BY_NAME, Error
from sim.bench_accelerator import CTRL, DONE, PERIOD, Bench
from sim.system import Workload

READY = 2  # in the interrupt registers
START, IDLE, ENDED = CTRL["start"], CTRL["idle"], CTRL["done"] | CTRL["ready"]


@cocotb.test()
async def protocol(dut):
    work = pickle.loads(Path(Workload.FILE).read_bytes())
    bench = Bench(dut, work.timing)
    await bench.start()
    job = work.jobs[0]
    for name, value in bench.place(job, work.program, work.weights).items():
        await bench.write(name, value)
    output = bench.dram.regions["output"].data
    untouched = bytes(output)

    end = next(i for i in range(len(work.program)) if work.program[job.entry + i * BYTES] == Op.END)

    async def run_ends():
        """Waits for what comes before END and a little longer: the machine may not be asked, reading clears flags."""
        bench.retired.clear()
        while end - 1 not in bench.retired:
            await with_timeout(ValueChange(dut.debug_retire), 50_000 * PERIOD, "ns")
        await ClockCycles(dut.ap_clk, 60)

    # Everything disabled: done can be polled, nothing else happens.
    assert await bench.read("ctrl") == IDLE
    await bench.write("ctrl", START)
    assert await bench.read("ctrl") == START, "neither idle nor done while it runs"
    await run_ends()
    assert int(dut.interrupt.value) == 0
    assert await bench.read("isr") == 0
    assert await bench.read("ctrl") == ENDED | IDLE
    assert await bench.read("ctrl") == IDLE
    result = bytes(output)
    assert result != untouched

    # Status without the output enabled; enabling it later raises it; toggling sets and clears.
    await bench.write("ier", DONE | READY)
    await bench.write("ctrl", START)
    await run_ends()
    assert await bench.read("isr") == DONE | READY
    assert int(dut.interrupt.value) == 0
    await bench.write("gie", 1)
    await ClockCycles(dut.ap_clk, 3)
    assert int(dut.interrupt.value) == 1
    await bench.write("isr", READY)
    assert await bench.read("isr") == DONE
    assert int(dut.interrupt.value) == 1
    await bench.write("isr", DONE)
    await ClockCycles(dut.ap_clk, 3)
    assert int(dut.interrupt.value) == 0
    assert await bench.read("ctrl") == ENDED | IDLE

    # Two runs by auto-restart, then it is taken back; the second gives the same result.
    await bench.write("ier", DONE)
    output[:] = untouched
    await bench.write("ctrl", START | CTRL["auto_restart"])
    await with_timeout(RisingEdge(dut.interrupt), 50_000 * PERIOD, "ns")
    assert bytes(output) == result
    output[:] = untouched
    await bench.write("isr", DONE)
    await bench.write("ctrl", 0)
    await with_timeout(RisingEdge(dut.interrupt), 50_000 * PERIOD, "ns")
    assert bytes(output) == result
    await bench.write("isr", DONE)
    retired = len(bench.retired)
    await ClockCycles(dut.ap_clk, 500)
    assert len(bench.retired) == retired
    assert await bench.read("ctrl") == ENDED | IDLE

    # A run that fails is the last one; its code stays until it is cleared, and a start works again.
    async def ends():
        if not int(dut.interrupt.value):
            await with_timeout(RisingEdge(dut.interrupt), 50_000 * PERIOD, "ns")
        await bench.write("isr", DONE)

    await bench.write("input_size", 0)
    await bench.write("ctrl", START | CTRL["auto_restart"])
    await ends()
    for _ in range(10):
        await ClockCycles(dut.ap_clk, 100)
        assert await bench.read("error_code") == Error.INPUT_RANGE
    assert await bench.read("error_index") > 0
    assert await bench.read("ctrl") == ENDED | IDLE | CTRL["auto_restart"]
    await bench.write("error_code", 0)
    assert (await bench.read("error_code"), await bench.read("error_index")) == (0, 0)
    await bench.write("input_size", len(bench.dram.regions["input"].data))

    # Restarting is stopped, too.
    await bench.write("ctrl", START | CTRL["auto_restart"])
    await ends()
    await ClockCycles(dut.ap_clk, 300)
    await bench.write("ctrl", CTRL["stop"] | CTRL["auto_restart"])
    await ends()
    assert await bench.read("error_code") == Error.STOPPED
    assert await bench.read("ctrl") == ENDED | IDLE | CTRL["auto_restart"]
    await bench.write("ctrl", CTRL["stop"])  # while idle: nothing
    assert await bench.read("ctrl") == IDLE
    output[:] = untouched
    await bench.write("ctrl", START)
    await ends()
    assert bytes(output) == result and await bench.read("error_code") == 0
    assert await bench.read("ctrl") == ENDED | IDLE

    # Constants, and registers that keep what was written.
    p = {part.name: part for part in BY_NAME["buses"].parts}
    buses = await bench.read("buses")
    for name, port in (("gmem0", dut.m_axi_gmem0_RDATA), ("gmem1", dut.m_axi_gmem1_RDATA)):
        assert buses >> p[name].lsb & (1 << p[name].bits) - 1 == len(port)
    assert buses >> p["weight_ports"].lsb & (1 << p["weight_ports"].bits) - 1 == len(bench.weights)
    assert await bench.read("magic") == int.from_bytes(b"HWGN", "little")
    assert await bench.read("program_base") == bench.dram.regions["program"].base
    assert bench.dram.violations == []
    Path(Workload.RESULTS).write_bytes(pickle.dumps(([], None)))
