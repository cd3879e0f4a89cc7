"""cocotb bench of AxiReader and AxiWriter against memories with random latency, stalls and errors."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from hwgen.rtl.memory.axi import CALM_CYCLES
from tests.rtl.memory.axi_model import ReadMemory, WriteMemory
from tests.rtl.ports import Ports, reset

P = json.loads(os.environ.get("HWGEN_PARAMETERS", '{"shapes": []}'))
SHAPES = [tuple(shape) for shape in P["shapes"]]
ZEROS = dict.fromkeys(
    ("abort", "clear", "command__valid", "command__payload", "ar__ready", "aw__ready", "w__ready", "r__valid",
     "b__valid"),
    0,
)  # fmt: skip
SIZE = 1 << 16


async def setup(dut, kind, bits, max_burst, **options):
    """The part meant, its memory model (running); the other parts sleep."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED + bits)
    readers, writers = ([Ports(dut, f"{k}{b}_") for b, *_ in SHAPES] for k in ("rd", "wr"))
    for reader in readers:
        reader.set(beats__ready=0)
    for writer in writers:
        writer.set(beats__valid=0, beats__payload=0)
    ports = Ports(dut, f"{kind}{bits}_")
    await reset(dut, *readers, *writers, **ZEROS)
    memory = rng.integers(0, 256, SIZE, dtype=np.uint8)
    model = {"rd": ReadMemory, "wr": WriteMemory}[kind]
    model = model(ports, memory, beat_bytes=bits // 8, rng=rng, max_burst=max_burst, **options)
    cocotb.start_soon(model.run())
    return rng, ports, memory, model


def commands(rng, bits, count):
    """(address, bytes, tag): around 4 KiB boundaries, single bytes, odd lengths, long ones."""
    beat = bits // 8
    result = []
    for _ in range(count):
        size = int(rng.choice([1, beat - 1, beat, beat + 1, 500, 4096, 4097, int(rng.integers(1, 6000))]))
        address = int(rng.integers(1, 8)) * 4096 + int(rng.integers(-6, 6)) * beat
        result.append((address, size, int(rng.integers(4))))
    return result


def command(ports, address, size, tag=0):
    """The payload; a writer's has no tag."""
    handle = getattr(ports.dut, f"{ports.prefix}command__payload")
    ports.set(command__payload=(address | size << 64 | tag << 96) & ((1 << len(handle)) - 1))


async def issue(ports, rng, work, pause=0.3):
    for address, size, tag in work:
        while rng.random() < pause:
            await RisingEdge(ports.dut.clk)
        ports.set(command__valid=1)
        command(ports, address, size, tag)
        await RisingEdge(ports.dut.clk)
        while not ports.get("command__ready"):
            await RisingEdge(ports.dut.clk)
        ports.set(command__valid=0)
        command(ports, int(rng.integers(1 << 60)), int(rng.integers(1 << 32)))


async def collect(ports, rng, count, stall, beats):
    """Append (data, tag, last) of `count` commands to `beats`."""
    bits = len(getattr(ports.dut, f"{ports.prefix}beats__payload")) - 3
    while count:
        ready = int(rng.random() >= stall)
        ports.set(beats__ready=ready)
        await RisingEdge(ports.dut.clk)
        if ready and ports.get("beats__valid"):
            payload = ports.get("beats__payload")
            beats.append((payload & ((1 << bits) - 1), payload >> bits + 1, payload >> bits & 1))
            count -= beats[-1][2]
    ports.set(beats__ready=0)


def expected_beats(memory, work, beat):
    result = []
    for address, size, tag in work:
        count = -(-size // beat)
        for i in range(count):
            raw = memory[address + i * beat : address + (i + 1) * beat].tobytes()
            result.append((int.from_bytes(raw, "little"), tag, int(i == count - 1)))
    return result


async def wait_idle(ports, limit=2000):
    for _ in range(limit):
        await RisingEdge(ports.dut.clk)
        if ports.get("idle"):
            return
    raise AssertionError("not idle")


class ErrorLog:
    def __init__(self, ports):
        self.ports, self.seen = ports, []

    async def run(self):
        while True:
            await RisingEdge(self.ports.dut.clk)
            if self.ports.get("error"):
                self.seen.append(self.ports.get("error_slave"))


@cocotb.test()
@cocotb.parametrize(shape=SHAPES, stall=[0.0, 0.4])
async def read_random(dut, shape, stall):
    bits, outstanding, max_burst = shape
    rng, ports, memory, model = await setup(dut, "rd", bits, max_burst, stall=stall)
    beat = bits // 8
    work = commands(rng, bits, 12)
    errors = ErrorLog(ports)
    cocotb.start_soon(errors.run())
    wanted = expected_beats(memory, work, beat)
    got = []
    cocotb.start_soon(issue(ports, rng, work))
    await collect(ports, rng, len(work), stall, got)
    assert got == wanted
    await RisingEdge(dut.clk)
    assert ports.get("idle")
    assert ports.get("bytes") == len(wanted) * beat == model.beats * beat
    assert not errors.seen
    assert model.most <= outstanding
    ports.set(clear=1)
    await RisingEdge(dut.clk)
    ports.set(clear=0)
    await ClockCycles(dut.clk, 2)
    assert ports.get("bytes") == 0


@cocotb.test()
async def read_keeps_the_bus_busy(dut):
    bits, _outstanding, max_burst = SHAPES[1]
    rng, ports, memory, model = await setup(dut, "rd", bits, max_burst, stall=0.0, latency=(40, 40))
    work = [(4096 * i + 64 * 3, 2048, 0) for i in range(1, 9)]
    got = []
    cocotb.start_soon(issue(ports, rng, work, pause=0.0))
    await collect(ports, rng, len(work), 0.0, got)
    assert got == expected_beats(memory, work, bits // 8)
    cycles = model.busy_cycles
    assert cycles[-1] - cycles[0] + 1 == len(cycles), "the data bus idled between bursts or commands"


@cocotb.test()
async def read_single_beats(dut):
    """One-beat commands, as an instruction fetch issues them: one in two cycles."""
    bits, _outstanding, max_burst = SHAPES[1]
    rng, ports, memory, _model = await setup(dut, "rd", bits, max_burst, stall=0.0, latency=(0, 0))
    work = [(4096 + 64 * i, 64, i % 4) for i in range(40)]
    got = []
    cocotb.start_soon(collect(ports, rng, len(work), 0.0, got))
    ports.set(command__valid=1)
    sent = cycles = 0
    while sent < len(work):
        command(ports, *work[sent])
        await RisingEdge(dut.clk)
        cycles += 1
        sent += ports.get("command__ready")
    ports.set(command__valid=0)
    assert cycles <= 2 * len(work) + 2
    await wait_idle(ports)
    assert got == expected_beats(memory, work, bits // 8)


@cocotb.test()
@cocotb.parametrize(shape=SHAPES)
async def read_errors(dut, shape):
    bits, _, max_burst = shape
    rng, ports, memory, model = await setup(dut, "rd", bits, max_burst)
    beat = bits // 8
    work = [(4096, 8 * beat, 1), (8192 - 3 * beat, 5 * beat, 2)]
    model.errors = {4096 + 2 * beat: 2, 8192: 3, 8192 + beat: 2}
    errors = ErrorLog(ports)
    cocotb.start_soon(errors.run())
    got = []
    cocotb.start_soon(issue(ports, rng, work))
    await collect(ports, rng, len(work), 0.3, got)
    await ClockCycles(dut.clk, 3)
    assert got == expected_beats(memory, work, beat)
    assert errors.seen == [1, 0, 1]


@cocotb.test()
@cocotb.parametrize(shape=SHAPES)
async def read_abort_and_restart(dut, shape):
    bits, _, max_burst = shape
    rng, ports, memory, model = await setup(dut, "rd", bits, max_burst)
    for _ in range(6):
        got = []
        issuing = cocotb.start_soon(issue(ports, rng, commands(rng, bits, 10)))
        collecting = cocotb.start_soon(collect(ports, rng, 10, 0.3, got))
        await ClockCycles(dut.clk, int(rng.integers(1, 60)))
        ports.set(abort=1)
        collecting.cancel()
        issuing.cancel()
        ports.set(command__valid=1, beats__ready=0)
        await RisingEdge(dut.clk)
        await wait_idle(ports)
        taken = len(model.bursts)
        await ClockCycles(dut.clk, 5)
        assert ports.get("idle") and not ports.get("beats__valid") and not ports.get("ar__valid")
        assert len(model.bursts) == taken
        ports.set(abort=0, command__valid=0)
        work, got = commands(rng, bits, 3), []
        cocotb.start_soon(issue(ports, rng, work))
        await collect(ports, rng, len(work), 0.3, got)
        assert got == expected_beats(memory, work, bits // 8)


async def reset_alone(dut):
    """The memory goes on meanwhile."""
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0


async def drained(ports, model, rest):
    """What was asked for before a reset comes and is swallowed; `rest` tells how much is under way. Nobody notices."""
    errors = ErrorLog(ports)
    watching = cocotb.start_soon(errors.run())
    for _ in range(4000):
        await RisingEdge(ports.dut.clk)
        assert ports.get("idle") and ports.get("bytes") == 0
        assert not ports.has("beats__valid") or not ports.get("beats__valid") or ports.prefix.startswith("wr")
        if not rest():
            break
    assert not rest()
    await ClockCycles(ports.dut.clk, 2)
    watching.cancel()
    assert not errors.seen


@cocotb.test()
@cocotb.parametrize(shape=SHAPES)
async def read_reset(dut, shape):
    """Data of commands before a reset is swallowed, whenever the reset comes and however much data there is."""
    bits, _, max_burst = shape
    rng, ports, memory, model = await setup(dut, "rd", bits, max_burst)
    late = 0
    for _ in range(8):
        issuing = cocotb.start_soon(issue(ports, rng, commands(rng, bits, 10)))
        collecting = cocotb.start_soon(collect(ports, rng, 10, 0.3, []))
        await ClockCycles(dut.clk, int(rng.integers(1, 80)))
        collecting.cancel()
        issuing.cancel()
        ports.set(command__valid=0, beats__ready=0)
        await reset_alone(dut)
        before = model.beats
        await drained(ports, model, lambda: model.pending)
        late += model.beats - before
        work, got = commands(rng, bits, 3), []
        cocotb.start_soon(issue(ports, rng, work))
        await collect(ports, rng, len(work), 0.3, got)
        assert got == expected_beats(memory, work, bits // 8)
        ports.set(clear=1)
        await RisingEdge(dut.clk)
        ports.set(clear=0)
    assert late > 50


@cocotb.test()
@cocotb.parametrize(abort=[0, 1])
async def read_unasked(dut, abort):
    """Beats that come while an address waits to be taken are none of its; a burst of the wrong length is an error."""
    bits = SHAPES[0][0]
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    ports = Ports(dut, f"rd{bits}_")
    await reset(dut, **{f"{kind}{b}_{name}": 0 for kind in ("rd", "wr") for b, *_ in SHAPES for name in ZEROS
                        if Ports(dut, f"{kind}{b}_").has(name)})  # fmt: skip
    errors = ErrorLog(ports)
    cocotb.start_soon(errors.run())

    async def beats(count, last=None, resp=0):
        for n in range(count):
            ports.set(r__valid=1, r__data=int(rng.integers(1 << 32)), r__resp=resp, r__last=int(n == last))
            await RisingEdge(dut.clk)
            while not ports.get("r__ready"):
                await RisingEdge(dut.clk)
        ports.set(r__valid=0)

    for length, last in ((4, 3), (4, 2), (4, None), (1, 0)):
        command(ports, 4096, length * bits // 8)
        ports.set(command__valid=1)
        await RisingEdge(dut.clk)
        ports.set(command__valid=0)
        for _ in range(CALM_CYCLES + 4):  # since the last of those beats
            if ports.get("ar__valid"):
                break
            await RisingEdge(dut.clk)
        assert ports.get("ar__valid") and not ports.get("idle")
        ports.set(abort=abort, beats__ready=0)
        await beats(7, last=6, resp=2)
        assert ports.get("ar__valid") and not ports.get("idle") and not ports.get("beats__valid")
        ports.set(ar__ready=1)
        await RisingEdge(dut.clk)
        ports.set(ar__ready=0, beats__ready=1)
        assert not errors.seen
        await beats(length if last is None else last + 1, last=last)
        await ClockCycles(dut.clk, 3)
        assert len(errors.seen) == (last != length - 1)
        assert ports.get("idle") == (last is not None)
        errors.seen.clear()
        if last is None:  # it ends when it ends
            await beats(3, last=2)
            await ClockCycles(dut.clk, 3)
            assert ports.get("idle") and errors.seen
            errors.seen.clear()
        ports.set(abort=0)


@cocotb.test()
async def read_calms_down(dut):
    """While beats of a run before a reset come, with pauses between them, nothing is asked for; then all is right."""
    bits, _, max_burst = SHAPES[1]
    rng, ports, memory, model = await setup(dut, "rd", bits, max_burst, stall=0.9, latency=(0, 200))
    for late in (30, 2):
        issuing = cocotb.start_soon(issue(ports, rng, [(4096, 60 * bits // 8, 0)] * 2))
        while not model.pending or model.beats % 60 < 60 - late:
            ports.set(beats__ready=1)
            await RisingEdge(dut.clk)
        issuing.cancel()
        ports.set(command__valid=0, beats__ready=0)
        await reset_alone(dut)
        owed, seen = sum(left for _, left, _ in model.pending), model.beats
        while model.beats == seen:  # the first of them
            await RisingEdge(dut.clk)
        before, work, got = len(model.bursts), commands(rng, bits, 3), []
        cocotb.start_soon(issue(ports, rng, work))
        asked = cocotb.start_soon(collect(ports, rng, len(work), 0.3, got))
        while model.beats < seen + owed:
            await RisingEdge(dut.clk)
            assert len(model.bursts) == before
        await asked
        assert got == expected_beats(memory, work, bits // 8)
        model.beats = 0


async def feed(ports, rng, work, beat, memory, stall):
    """Beats for the commands of `work`, with random data and strobes, also put into `memory`."""
    for address, size, _ in work:
        for i in range(-(-size // beat)):
            raw = rng.integers(0, 256, beat, dtype=np.uint8)
            strobes = rng.integers(0, 2, beat).astype(bool) if rng.random() < 0.5 else np.ones(beat, dtype=bool)
            while rng.random() < stall:
                ports.set(beats__valid=0)
                await RisingEdge(ports.dut.clk)
            strobe = sum(1 << n for n in range(beat) if strobes[n])
            ports.set(beats__valid=1, beats__payload=int.from_bytes(raw.tobytes(), "little") | strobe << 8 * beat)
            await RisingEdge(ports.dut.clk)
            while not ports.get("beats__ready"):
                await RisingEdge(ports.dut.clk)
            memory[address + i * beat : address + (i + 1) * beat][strobes] = raw[strobes]
    ports.set(beats__valid=0)


@cocotb.test()
@cocotb.parametrize(shape=SHAPES, stall=[0.0, 0.4])
async def write_random(dut, shape, stall):
    bits, outstanding, max_burst = shape
    rng, ports, memory, model = await setup(dut, "wr", bits, max_burst, stall=stall)
    beat = bits // 8
    wanted = memory.copy()
    work = commands(rng, bits, 12)
    cocotb.start_soon(issue(ports, rng, work))
    await feed(ports, rng, work, beat, wanted, stall)
    await wait_idle(ports)
    assert (memory == wanted).all()
    assert model.beats * beat == ports.get("bytes") == sum(-(-size // beat) for _, size, _ in work) * beat
    assert model.unanswered == 0
    assert model.most <= outstanding


@cocotb.test()
async def write_keeps_the_bus_busy(dut):
    bits, _, max_burst = SHAPES[1]
    rng, ports, memory, model = await setup(dut, "wr", bits, max_burst, stall=0.0, latency=(40, 40))
    wanted = memory.copy()
    work = [(4096 * i + 64 * 3, 2048, 0) for i in range(1, 9)]
    cocotb.start_soon(issue(ports, rng, work, pause=0.0))
    await feed(ports, rng, work, bits // 8, wanted, 0.0)
    await wait_idle(ports)
    assert (memory == wanted).all()
    cycles = model.busy_cycles
    assert cycles[-1] - cycles[0] + 1 == len(cycles), "the data bus idled between bursts or commands"


@cocotb.test()
@cocotb.parametrize(shape=SHAPES)
async def write_errors(dut, shape):
    bits, _, max_burst = shape
    rng, ports, memory, model = await setup(dut, "wr", bits, max_burst)
    beat = bits // 8
    work = [(4096, 2 * beat, 0), (8192, beat, 0), (12288 - beat, 2 * beat, 0)]
    model.errors = {4096: 3, 12288 - beat: 2, 12288: 2}
    errors = ErrorLog(ports)
    cocotb.start_soon(errors.run())
    cocotb.start_soon(issue(ports, rng, work))
    await feed(ports, rng, work, beat, memory.copy(), 0.3)
    await wait_idle(ports)
    await ClockCycles(dut.clk, 2)
    assert errors.seen == [0, 1, 1]


@cocotb.test()
@cocotb.parametrize(shape=SHAPES)
async def write_abort_and_restart(dut, shape):
    bits, _, max_burst = shape
    rng, ports, memory, model = await setup(dut, "wr", bits, max_burst)
    beat = bits // 8
    for _ in range(6):
        wanted = memory.copy()
        work = commands(rng, bits, 10)
        issuing = cocotb.start_soon(issue(ports, rng, work))
        feeding = cocotb.start_soon(feed(ports, rng, work, beat, wanted, 0.3))
        await ClockCycles(dut.clk, int(rng.integers(1, 60)))
        ports.set(abort=1)
        issuing.cancel()
        feeding.cancel()
        ports.set(command__valid=1, beats__valid=1, beats__payload=0x5A5A | ((1 << beat) - 1) << 8 * beat)
        await RisingEdge(dut.clk)
        for _ in range(3000):
            await RisingEdge(dut.clk)
            assert not ports.get("beats__ready")
            if ports.get("idle"):
                break
        else:
            raise AssertionError("not idle")
        assert model.unanswered == 0
        assert 0x5A5A not in model.strobed
        taken = len(model.bursts)
        await ClockCycles(dut.clk, 5)
        assert len(model.bursts) == taken and ports.get("idle") and not ports.get("w__valid")
        ports.set(abort=0, command__valid=0, beats__valid=0)
        wanted = memory.copy()
        work = commands(rng, bits, 3)
        cocotb.start_soon(issue(ports, rng, work))
        await feed(ports, rng, work, beat, wanted, 0.3)
        await wait_idle(ports)
        assert (memory == wanted).all()


@cocotb.test()
@cocotb.parametrize(shape=SHAPES)
async def write_reset(dut, shape):
    """Responses to what was written before a reset are swallowed."""
    bits, _, max_burst = shape
    rng, ports, memory, model = await setup(dut, "wr", bits, max_burst, latency=(10, 60))
    beat, late = bits // 8, 0
    for _ in range(10):
        work = commands(rng, bits, 10)
        model.errors = dict.fromkeys(range(0, SIZE, beat), 2)
        issuing = cocotb.start_soon(issue(ports, rng, work))
        feeding = cocotb.start_soon(feed(ports, rng, work, beat, memory.copy(), 0.3))
        await ClockCycles(dut.clk, int(rng.integers(20, 300)))
        issuing.cancel()
        feeding.cancel()
        ports.set(command__valid=0, beats__valid=0)
        await reset_alone(dut)
        late += model.unanswered
        await drained(ports, model, lambda: model.unanswered)
        model.errors = {}
        wanted, work = memory.copy(), commands(rng, bits, 3)
        cocotb.start_soon(issue(ports, rng, work))
        await feed(ports, rng, work, beat, wanted, 0.3)
        await wait_idle(ports)
        assert (memory == wanted).all() and model.unanswered == 0
        ports.set(clear=1)
        await RisingEdge(dut.clk)
        ports.set(clear=0)
    assert late > 4


@cocotb.test()
async def write_unasked(dut):
    """A response before the address is taken, or before the last beat is, answers nothing; whichever is the first."""
    bits = SHAPES[0][0]
    ports = Ports(dut, f"wr{bits}_")
    await reset(dut, **{f"{kind}{b}_{name}": 0 for kind in ("rd", "wr") for b, *_ in SHAPES for name in ZEROS
                        if Ports(dut, f"{kind}{b}_").has(name)})  # fmt: skip
    errors = ErrorLog(ports)
    cocotb.start_soon(errors.run())

    async def respond(resp):
        ports.set(b__valid=1, b__resp=resp)
        await RisingEdge(dut.clk)
        assert ports.get("b__ready")
        ports.set(b__valid=0)
        await ClockCycles(dut.clk, 2)

    for resp, first in ((0, "aw"), (2, "aw"), (0, "w"), (2, "w")):
        await respond(2)
        assert ports.get("idle") and not errors.seen
        command(ports, 4096, bits // 8)
        ports.set(command__valid=1, beats__valid=1, beats__payload=5)
        await RisingEdge(dut.clk)
        ports.set(command__valid=0)
        await ClockCycles(dut.clk, 5)
        await respond(2)
        ports.set(**{f"{first}__ready": 1})
        await RisingEdge(dut.clk)
        ports.set(**{f"{first}__ready": 0})
        await ClockCycles(dut.clk, 3)
        ports.set(beats__valid=0)
        await respond(2)
        second = {"aw": "w", "w": "aw"}[first]
        assert not ports.get("idle") and not errors.seen and ports.get(f"{second}__valid")
        ports.set(**{f"{second}__ready": 1})
        await RisingEdge(dut.clk)
        ports.set(**{f"{second}__ready": 0})
        await RisingEdge(dut.clk)
        assert not ports.get("idle")
        await respond(resp)
        assert ports.get("idle") and len(errors.seen) == (resp != 0)
        errors.seen.clear()
