"""cocotb bench of the sequencer: a run gives a list of events (commands, instructions dispatched), compared with a
model; `Bench` checks the cycles meanwhile.
"""

import cocotb
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from hwgen.machine.isa import BYTES, UNITS, Op, decode
from hwgen.machine.regmap import Error
from hwgen.rtl.control.watchdog import PATIENCE_CYCLES
from tests.rtl.control.sequencer_model import MASK, Routing, bases, refusal
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
        await expect(bench, code, r | {"input_base": MASK + 1 - (1 << 16)})  # up to the last address
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
    for op, region, more in (
        (Op.IMAGE, "input", {}),
        (Op.LOAD, "program", {"offset": 1 << 13}),
        (Op.MATMUL, "weights", {"tiles": 3, "bytes": 27 * HW.ring_bytes}),
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
    weights = {"use_queue": 0, "scatter": 0, "expert": 0, "tiles": 3, "row_end": 3, "offset": 0, "ring_offset": 0}
    new = programs.instruction(Op.MATMUL, keep=1, bytes=27 * HW.ring_bytes, **weights)
    code = [new, programs.instruction(Op.MATMUL, keep=0, bytes=0, **weights), programs.instruction(Op.END)]
    await expect(bench, code, programs.registers(code, weights_size=27 * HW.ring_bytes))


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
async def kept_weights(dut):
    """Words kept in the ring, one more than there are, and beside them; each image begins with none."""
    bench = Bench(dut)
    await bench.begin()
    programs, ring = bench.programs, HW.ring_bytes
    plain = {"use_queue": 0, "scatter": 0, "expert": 0, "row_end": 3, "offset": 0, "k_steps": 5}

    def matmul(tiles, offset, *, keep, new=0):
        fields = {"tiles": tiles, "ring_offset": offset, "keep": keep, "bytes": new * 9 * tiles * ring}
        return programs.instruction(Op.MATMUL, **plain | fields)

    end = programs.instruction(Op.END)
    first, second = matmul(3, 0, keep=1, new=1), matmul(2, 27, keep=1, new=1)
    queue = programs.instruction(Op.MATMUL, **plain | {"tiles": 2, "use_queue": 1, "row_end": 0, "ring_offset": 0,
                                                       "keep": 0, "bytes": 18 * ring})  # fmt: skip
    for code in (
        [first, second, matmul(2, 27, keep=1), matmul(3, 0, keep=0), matmul(2, 0, keep=0), queue, end],
        [matmul(1, 0, keep=0), end],
        [matmul(1, 0, keep=1), end],
        [matmul(1, 1, keep=1, new=1), end],
        [first, matmul(3, 1, keep=1), end],
        [first, matmul(4, 0, keep=0), end],
        [first, matmul(1, 28, keep=1), end],
        [first, matmul(2, 26, keep=1, new=1), end],
        [first, matmul(2, 28, keep=1, new=1), end],
        [first, matmul(2, 0, keep=0, new=1), end],
        [first, queue, end],
        [first, matmul(3, 0, keep=0), matmul(1, 0, keep=0), end],
        [first, end],
    ):
        for batch in (1, 2):
            await expect(bench, code, programs.registers(code, batch=batch))
    legal, _, _ = Routing(HW, bench.rng).run([first, second, end], programs.registers([first, second, end]))
    assert len(legal) == 4


@cocotb.test()
async def arguments(dut):
    """Each at its limit and beyond; the start is refused at once and the next one is not."""
    bench = Bench(dut)
    await bench.begin()
    programs, code = bench.programs, bench.programs.code(2)
    cases = []
    for name, region in bases(HW).items():
        cases += [{name: 64 * int(bench.rng.integers(1 << 50)) + low} for low in (1, 8, 32, 63)]
        for size in (64, 1 << 14, 0xFFFF_FFC0, 0xFFFF_FFFF):
            for share in (size, size // HW.weight_ports):
                base = (1 << 64) - (-(-share // 64) * 64)
                cases += [{name: base + more & MASK, f"{region}_size": size} for more in (0, 64, -64)]
        cases.append({name: (1 << 64) - (1 << 32), f"{region}_size": 0xFFFF_FFFF})
        cases.append({name: (1 << 64) - (1 << 32) + 64, f"{region}_size": 0xFFFF_FFFF})
        cases.append({name: (1 << 63) - 64, f"{region}_size": 1 << 14})  # no carry beyond the top
    cases += [{name: stride} for name in ("input_stride", "output_stride") for stride in (1, 8, 32, 63, 65, 1 << 31)]
    cases += [{"entry": entry, "program_size": 256} for entry in (0, 32, 192, 224, 256, 1 << 31, 0xFFFF_FFC0)]
    cases += [{"entry": 0, "program_size": 0}, {"output_base": 8, "program_base": 8}]
    refused = set()
    for case in cases:
        r = programs.registers(code) | case
        _, error, index = await bench.run(code, r, Routing(HW, bench.rng, 0), [[1] * 10])
        ended = {Error.NONE, Error.PROGRAM_RANGE, Error.INPUT_RANGE, Error.OUTPUT_RANGE, Error.WEIGHTS_RANGE}
        assert error == refusal(HW, r) or (refusal(HW, r) == Error.NONE and error in ended), case
        assert index == 0 or not refusal(HW, r)
        assert bench.now == 1 or not refusal(HW, r)
        refused.add(refusal(HW, r))
        await bench.pause()
    assert len(refused) == 8
    assert HW.c == 8  # rows of 32 bytes: the output ends at 192
    code = [programs.instruction(Op.STORE, offset=64, row_end=4, tiles=2, bytes=128), programs.instruction(Op.END)]
    for stride in (0, 128, 192):
        for batch in (0, 1, 2):
            await expect(bench, code, programs.registers(code, batch=batch, output_stride=stride))


@cocotb.test()
async def watchdog(dut):
    """More cycles than it says: an error; fewer: none, however many the images of a batch take together."""
    bench = Bench(dut)
    await bench.begin()
    seen = set()
    for _ in range(24):
        code = bench.programs.code(int(bench.rng.integers(1, 8)))
        limit = int(bench.rng.integers(1, 400))
        r, routing = bench.programs.registers(code, watchdog=limit), Routing(HW, bench.rng)
        wanted, _, decisions = routing.run(code, r)
        events, error, index = await bench.run(code, r, routing, decisions, fault="watchdog")
        assert error in (Error.NONE, Error.WATCHDOG)
        assert bench.now < limit + 30 if error else bench.now < limit + 20 + 12
        assert bench.now > limit or not error
        assert events == wanted[: len(events)] and index == bench.executed
        seen.add(error)
        await bench.pause()
    assert len(seen) == 2
    code = [bench.programs.instruction(Op.MEAN), bench.programs.instruction(Op.END)]
    for limit in (0, 500):
        await expect(bench, code, bench.programs.registers(code, batch=12, watchdog=limit))


@cocotb.test()
async def slow_ports(dut):
    """What the ports take to come to rest counts for no image, neither the one before it nor the next."""
    bench = Bench(dut)
    await bench.begin()
    await RisingEdge(dut.clk)
    code = bench.programs.instruction(Op.END)
    bench.drive(writer_idle=1, **bench.programs.registers([code], batch=3, watchdog=20))
    await ClockCycles(dut.clk, ARGUMENTS)
    bench.drive(start=1, fetch_valid=1, fetch_data=int.from_bytes(code, "little"))
    await RisingEdge(dut.clk)
    bench.drive(start=0)
    waited = images = 0
    for _ in range(400):
        await ReadOnly()
        waited = waited + 1 if bench.get("abort") else 0
        images += bench.get("fetch_start")
        if bench.get("done"):
            break
        await RisingEdge(dut.clk)
        bench.drive(ports_idle=waited > 60)
    assert bench.get("done") and bench.get("error_code") == 0 and images == 3
    await RisingEdge(dut.clk)
    bench.drive(fetch_valid=0)


@cocotb.test()
async def impatience(dut):
    """Ports that do not come to rest: the run ends all the same, and none begins before they do."""
    bench = Bench(dut)
    await bench.begin()
    code = [bench.programs.instruction(Op.END)]

    async def start():
        bench.drive(start=1)
        await RisingEdge(dut.clk)
        bench.drive(start=0)

    async def ends(error):
        for _ in range(24):
            await ReadOnly()
            if bench.get("done"):
                break
            await RisingEdge(dut.clk)
        assert bench.get("done") and bench.get("error_code") == error
        await RisingEdge(dut.clk)

    await RisingEdge(dut.clk)
    bench.drive(writer_idle=1, **bench.programs.registers(code))
    for cause, error in (({}, Error.WATCHDOG), ({"stop": 1}, Error.STOPPED), ({"read0_error": 1}, Error.READ_GMEM0)):
        bench.drive(ports_idle=0)
        await ClockCycles(dut.clk, ARGUMENTS)
        await start()
        await ClockCycles(dut.clk, 70_000)  # no matter how long it took before
        bench.drive(fetch_valid=1, fetch_data=int.from_bytes(code[0], "little"), **cause)
        await ClockCycles(dut.clk, PATIENCE_CYCLES - 10)
        await ReadOnly()
        assert bench.get("abort") and bench.get("running")
        await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, 30)
        bench.drive(fetch_valid=0, **dict.fromkeys(cause, 0))
        await ReadOnly()
        assert not bench.get("running") and bench.get("idle") and bench.get("abort")
        assert bench.get("error_code") == error
        await RisingEdge(dut.clk)
        await start()
        await ends(Error.PORTS)
        bench.drive(error_code_clear=1)
        await RisingEdge(dut.clk)
        bench.drive(error_code_clear=0)
        await RisingEdge(dut.clk)
        await ReadOnly()
        assert bench.get("error_code") == 0 and bench.get("abort")
        await RisingEdge(dut.clk)
        bench.drive(ports_idle=1)
        await ClockCycles(dut.clk, 4)
        await ReadOnly()
        assert not bench.get("abort")
        await RisingEdge(dut.clk)
        await start()
        bench.drive(fetch_valid=1)
        await ends(Error.NONE)
        bench.drive(fetch_valid=0)


@cocotb.test()
async def restart_at_once(dut):
    """As with auto_restart: the next start comes as soon as the sequencer is idle."""
    bench = Bench(dut)
    await bench.begin()
    await RisingEdge(dut.clk)
    code = bench.programs.instruction(Op.END)
    bench.drive(writer_idle=1, **bench.programs.registers([code]))
    await ClockCycles(dut.clk, ARGUMENTS)
    bench.drive(start=1, fetch_valid=1, fetch_data=int.from_bytes(code, "little"), ports_idle=1)
    ended = 0
    for _ in range(120):
        await ReadOnly()
        ended += bench.get("done")
        assert bench.get("error_code") == 0
        await RisingEdge(dut.clk)
    assert ended > 4
    bench.drive(start=0)
    await ClockCycles(dut.clk, 30)
    bench.drive(fetch_valid=0)


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
