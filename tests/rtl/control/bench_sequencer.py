"""cocotb bench of the sequencer: a run gives a list of events (commands, instructions dispatched), compared with a
model; `Bench` checks the cycles meanwhile.
"""

import cocotb
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from hwgen.machine.isa import BYTES, UNITS, Op, decode
from hwgen.machine.regmap import Error
from tests.rtl.control.sequencer_model import MASK, Routing
from tests.rtl.control.sequencer_play import ARGUMENTS, FAULTS, HW, Bench

STARVED_CYCLES = 1 << 16


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
        (Op.LOAD, "program", {"offset": 1 << 13}),
        (Op.MATMUL, "weights", {"bytes": 27 * HW.ring_bytes}),
        (Op.STORE, "output", {}),
    ):
        code = [programs.instruction(Op.MEAN), programs.instruction(op, **more), programs.instruction(Op.END)]
        f = decode(code[1])
        for size in (f["offset"] + f["bytes"], f["offset"] + f["bytes"] - 1, 0):
            await expect(bench, code, programs.registers(code, **{f"{region}_size": size}))
        far = {"offset": (1 << 32) - HW.weight_align}  # offset + bytes exceeds 32 bits
        huge = [programs.instruction(op, **more | far), code[2]]
        await expect(bench, huge, programs.registers(huge, **{f"{region}_size": 0xFFFF_FFFF}))
        await expect(bench, code, programs.registers(code, program_size=1 << 14))
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
