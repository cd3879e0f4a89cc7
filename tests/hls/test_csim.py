"""The HLS sources as a program: every tensor, error code and count is that of the other models of the machine."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen.machine.isa import BY_NAME, BYTES, OPCODES, Op, encode
from hwgen.machine.regmap import Error
from sim.harness import Disturbance, Job, SimulationError
from tests.hls.helpers import c_simulation
from tests.random_model import random_description, random_images
from tests.system.helpers import OFFSETS, Work, differences, harness, simulate
from tests.system.test_models import HARDWARE, POOLED, SMALL, UNUSUAL, in_turns

#: Counters that mean the same in both backends.
SAME = ("array_busy", "attention_busy", "kv_read_bytes", "instructions", "gmem1_write_bytes")


def ids(hardware):
    return f"{hardware.t}x{hardware.c}x{hardware.k}"


@pytest.mark.parametrize("hardware", HARDWARE, ids=ids)
def test_random_models(hardware):
    """Of the RTL's system tests: all models, tasks and batches, one after another, to the bit."""
    works = hardware.works()
    if hardware.batch > 1:
        works += hardware.works(batch=hardware.batch)
    runs = in_turns(works)
    assert not differences(runs, simulate(c_simulation(works[0].p), runs))


def test_tokens_and_means():
    desc, p = random_description(1, **POOLED), SMALL.works(1)[0].p
    runs = in_turns([Work(desc, p, random_images(desc, 2, seed=1))])
    assert not differences(runs, simulate(c_simulation(p), runs))


def test_what_few_networks_have():
    p = HARDWARE[0].works(1)[0].p
    works = [Work(desc, p, random_images(desc, 3, seed=1), 3)
             for desc in (random_description(1, **one) for one in UNUSUAL.values())]  # fmt: skip
    runs = in_turns(works, 1)
    assert not differences(runs, simulate(c_simulation(p), runs))


@pytest.mark.parametrize("kind", [{"sanitize": True}, {"vendor": True}], ids=["sanitizers", "vendor's integers"])
def test_no_undefined_behaviour_and_the_same_with_the_vendors_integers(kind):
    works = SMALL.works(1)
    runs = in_turns(works, 1)
    assert not differences(runs, simulate(c_simulation(works[0].p, **kind), runs))


def test_counts_are_those_of_the_rtl():
    works = SMALL.works(1)
    runs = in_turns(works, 1)
    for ours, rtl in zip(simulate(c_simulation(works[0].p), runs), simulate(harness(works[0].p), runs), strict=True):
        assert {name: ours.counters[name] for name in SAME} == {name: rtl.counters[name] for name in SAME}
        # Of what it fetched in vain, the RTL does not count what was left of a beat.
        wasted = rtl.counters["gmem0_wasted_bytes"]
        rest = rtl.counters["gmem0_read_bytes"] - wasted - ours.counters["gmem0_read_bytes"]
        assert 0 <= rest <= (SMALL.weight_bus // 8 if wasted else 0)


def test_iterations_of_loops():
    """The array's steps and its waits for rows are the loop of the array; units come one after another."""
    work = SMALL.works(1)[0]
    machine = c_simulation(replace(work.p, instruction_queue=63))  # no other test's loops
    result = simulate(machine, [(work, work.tasks[0], 0)])[0]
    loops = machine.loops
    assert loops["array.steps"].iterations >= result.counters["array_busy"]
    units = sum(loop.iterations for name, loop in loops.items() if name.startswith("unit."))
    assert units + loops["sequencer.fetch"].iterations == result.counters["cycles"]
    assert loops["sequencer.fetch"].entered == result.counters["instructions"]


def program(*instructions: bytes) -> bytes:
    return b"".join(instructions)


END = encode(Op.END)
LINE = 64  #: bytes that every region of these programs has


def run(code: bytes, **options):
    job = Job(options.pop("entry", 0), options.pop("input", bytes(LINE)), options.pop("output", LINE), **options)
    p = SMALL.works(1)[0].p
    return c_simulation(p).run([job], program=code, weights=bytes(4 * LINE), counters=OFFSETS)[0]


def store(**fields: int) -> bytes:
    p = SMALL.works(1)[0].p
    return encode(Op.STORE, **{"source": 2, "bytes": 2 * p.c, "row_end": 1, "tiles": 1} | fields)


@pytest.mark.parametrize(
    ("code", "options", "error", "index"),
    [
        (END, {}, Error.NONE, 0),
        (bytes([11]) + bytes(63), {}, Error.OPCODE, 0),
        (bytes(BYTES), {}, Error.OPCODE, 0),
        (store(), {}, Error.PROGRAM_RANGE, 1),
        (store(offset=LINE) + END, {}, Error.OUTPUT_RANGE, 0),
        (encode(Op.LOAD, dest=4, offset=2 * LINE, bytes=16), {}, Error.PROGRAM_RANGE, 0),
        (store() + encode(Op.IMAGE, bytes=LINE + 1, a_stride=1, k_steps=1, tiles=1) + END, {}, Error.INPUT_RANGE, 1),
        (encode(Op.MATMUL, dest=0, source=0, offset=4 * LINE, bytes=128, row_end=1, k_steps=6, tiles=1), {},
         Error.WEIGHTS_RANGE, 0),
        (encode(Op.MATMUL, row_end=1, k_steps=6, tiles=1), {}, Error.NOT_FETCHED, 0),
        (store(row_begin=1), {}, Error.FIELD, 0),
        (store(offset=4), {}, Error.FIELD, 0),
        (store() + END, {"batch": 2, "output": 2 * LINE}, Error.OUTPUT_STRIDE, 0),
        (store() + END, {"batch": 2, "output_stride": LINE}, Error.OUTPUT_RANGE, 0),
        (store() + END, {"batch": 2, "output_stride": LINE, "output": 2 * LINE}, Error.NONE, 0),
        (END, {"entry": LINE}, Error.ENTRY, 0),
        (END, {"entry": 4}, Error.ENTRY, 0),
        (END, {"output_stride": 4}, Error.OUTPUT_STRIDE, 0),
        (END, {"input_stride": 4}, Error.INPUT_STRIDE, 0),
        (store() + store() + END, {"watchdog": 1}, Error.WATCHDOG, 0),
        (store() + END, {"watchdog": 1000}, Error.NONE, 0),
    ],
)
def test_error_codes(code, options, error, index):
    result = run(code, **options)
    assert (Error(result.error), result.error_index) == (error, index)


def test_an_address_outside_of_a_buffer_is_found():
    """What the RTL would read or write there is anything; a compiler that does it is wrong."""
    with pytest.raises(SimulationError, match="word 65535 of a memory of"):
        run(store(a_base=0xFFFF) + END)


@pytest.mark.parametrize("options", [{"fault": (0, 1)}, {"disturbance": Disturbance(stop=5)}], ids=["fault", "stop"])
def test_what_has_no_bus_is_refused(options):
    with pytest.raises(SimulationError, match="C-simulation has no bus"):
        run(END, **options)


def spoilt(work: Work, count: int) -> list[bytes]:
    """Programs of one instruction: the compiler's, with a field changed, or a bit that it does not read."""
    rng = np.random.default_rng(1)
    of_op: dict[Op, list] = {}
    for task in work.tasks:
        for one in work.compiled.instructions[task]:
            of_op.setdefault(one.op, []).append(one)
    programs = []
    for _ in range(count):
        op = list(of_op)[rng.integers(len(of_op))]
        instr = of_op[op][rng.integers(len(of_op[op]))]
        fields = dict(instr.fields)
        names = [name for name in OPCODES[op][1] if name != "slack"]
        if names and rng.random() < 0.9:
            name = names[rng.integers(len(names))]
            most = (1 << BY_NAME[name].bits) - 1
            value = fields.get(name, 0)
            anywhere = int(rng.integers(most + 1))
            near = [0, 1, most, value + 1, max(value, 1) - 1, 2 * value, anywhere, anywhere & ~255, 1 << 20]
            fields[name] = min(int(rng.choice(near)), most)
        code = bytearray(encode(op, **fields))
        if rng.random() < 0.1:
            code[rng.integers(BYTES) * rng.integers(2)] ^= 1 << rng.integers(8)
        programs.append(bytes(code) + END)
    return programs


def test_what_is_refused_is_what_the_rtl_refuses():
    """Code and index; what is let through here must not be an error there, but of time."""
    work = SMALL.works(1)[0]
    weights, image, late = work.compiled.weights, work.input(0), (Error.WATCHDOG, Error.NONE)
    programs = [work.compiled.program.ljust(-(-len(work.compiled.program) // BYTES) * BYTES, b"\0") + code
                for code in spoilt(work, 400)]  # fmt: skip
    entry = len(programs[0]) - 2 * BYTES

    def jobs(watchdog: int) -> list[Job]:
        return [Job(entry, image, 4 * LINE, memory=(code, weights), watchdog=watchdog) for code in programs]

    rtl = [Error(result.error) for result in harness(work.p).run(jobs(3000), program=b"", weights=b"")]
    found = []
    for job in jobs(1):  # an instruction that may run would take longer
        result = c_simulation(work.p).run([job], program=b"", weights=b"")[0]
        found.append(Error(result.error))
    assert [ours if ours not in late else "runs" for ours in found] == [
        theirs if theirs not in late else "runs" for theirs in rtl
    ]
    refused = {code for code in found if code not in late}
    assert refused >= {Error.FIELD, Error.OPCODE, Error.PROGRAM_RANGE, Error.OUTPUT_RANGE, Error.INPUT_RANGE,
                       Error.NOT_FETCHED}  # fmt: skip
