"""The HLS sources as a program: every tensor, error code and count is that of the other models of the machine."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from hwgen.machine.isa import BY_NAME, BYTES, OPCODES, Dest, Op, encode
from hwgen.machine.regmap import Error
from hwgen.machine.tables import ACTIVATION_ENTRIES
from sim.harness import Disturbance, Harness, Job, SimulationError
from sim.hls import CSimulation
from tests.hls.helpers import c_simulation
from tests.random_model import random_description, random_images
from tests.system.helpers import OFFSETS, Work, differences, harness, simulate
from tests.system.test_models import HARDWARE, POOLED, SMALL, UNUSUAL, in_blocks, in_turns, spilled

#: Counters that mean the same in both backends.
SAME = ("array_busy", "attention_busy", "kv_read_bytes", "instructions", "gmem1_write_bytes")


def ids(hardware):
    return f"{hardware.t}x{hardware.c}x{hardware.k}"


@lru_cache
def small() -> Work:
    return SMALL.works(1)[0]


END = encode(Op.END)
LINE = 64  #: bytes that every region of these programs has


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


@pytest.mark.parametrize("hardware", [HARDWARE[0], HARDWARE[2]], ids=ids)
def test_networks_in_blocks(hardware):
    work = in_blocks(hardware)
    runs = in_turns([work], 1)
    assert not differences(runs, simulate(c_simulation(work.p), runs))


def test_spilled():
    work = spilled(HARDWARE[0])
    runs = in_turns([work], 1)
    assert not differences(runs, simulate(c_simulation(work.p), runs))


@lru_cache
def small_ring() -> Work:
    """No more words of weights than two tiles of its widest layer: each overwrites what another tile has read."""
    return Work(small().desc, replace(small().p, weight_depth=32), small().images)


def test_small_ring():
    runs = in_turns([small_ring()], 1)
    assert not differences(runs, simulate(c_simulation(small_ring().p), runs))


def test_images_that_the_machine_counts():
    """The registers' batch: image after image, each at its stride."""
    machine = c_simulation(small().p)
    assert outputs(machine, 3) == outputs(machine, 1)


def image_jobs(batch: int) -> list[Job]:
    """Three images, so many in a job."""
    compiled, task = small().compiled, small().tasks[0]
    inputs = [compiled.pack_input(image[None]) for image in random_images(small().desc, 3, seed=1)]
    stride, size = -(-len(inputs[0]) // LINE) * LINE, compiled.output_bytes[task]
    output = -(-size // LINE) * LINE
    strides = {"batch": batch, "input_stride": stride, "output_stride": output}
    padded = [one.ljust(stride, b"\0") for one in inputs]
    return [Job(compiled.entries[task], b"".join(padded[first : first + batch]), batch * output, **strides)
            for first in range(0, 3, batch)]  # fmt: skip


def outputs(machine: CSimulation, batch: int) -> list[bytes]:
    """Of each of the images."""
    compiled = small().compiled
    size = compiled.output_bytes[small().tasks[0]]
    done = machine.run(image_jobs(batch), program=compiled.program, weights=compiled.weights)
    written = b"".join(one.output for one in done)
    return [written[len(written) // 3 * number :][:size] for number in range(3)]


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


def run(code: bytes, machine: CSimulation | None = None, **options):
    job = Job(options.pop("entry", 0), options.pop("input", bytes(LINE)), options.pop("output", LINE), **options)
    machine = machine or c_simulation(small().p)
    return machine.run([job], program=code, weights=bytes(4 * LINE), counters=OFFSETS)[0]


def store(**fields: int) -> bytes:
    return encode(Op.STORE, **{"source": 2, "bytes": 2 * SMALL.c, "row_end": 1, "tiles": 1} | fields)


def matmul(**fields: int) -> bytes:
    """A tile of a line of words: two of parameters, two of weights."""
    return encode(Op.MATMUL, **{"row_end": 1, "k_steps": 2, "tiles": 1} | fields)


#: Programs, options of their job, the error and the instruction that it is about.
ERRORS = [
    (END, {}, Error.NONE, 0),
    (bytes([11]) + bytes(63), {}, Error.OPCODE, 0),
    (bytes(BYTES), {}, Error.OPCODE, 0),
    (store(), {}, Error.PROGRAM_RANGE, 1),
    (store(offset=LINE) + END, {}, Error.OUTPUT_RANGE, 0),
    (encode(Op.LOAD, dest=4, offset=2 * LINE, bytes=16), {}, Error.PROGRAM_RANGE, 0),
    (store() + encode(Op.IMAGE, bytes=LINE + 1, a_stride=1, k_steps=1, tiles=1) + END, {}, Error.INPUT_RANGE, 1),
    (matmul(offset=4 * LINE, bytes=2 * LINE, k_steps=6), {}, Error.WEIGHTS_RANGE, 0),
    (matmul(), {}, Error.NOT_FETCHED, 0),
    (store(row_begin=1), {}, Error.FIELD, 0),
    (store(offset=LINE // 2), {}, Error.FIELD, 0),
    (matmul(keep=1, bytes=LINE) + matmul(k_steps=3), {}, Error.NOT_FETCHED, 1),
    (matmul(keep=1, bytes=LINE) + matmul() + END, {}, Error.NONE, 0),
    (store() + END, {"batch": 2, "output": 2 * LINE}, Error.OUTPUT_STRIDE, 0),
    (store() + END, {"batch": 2, "output_stride": LINE}, Error.OUTPUT_RANGE, 0),
    (store() + END, {"batch": 2, "output_stride": LINE, "output": 2 * LINE}, Error.NONE, 0),
    (END, {"entry": LINE}, Error.ENTRY, 0),
    (END, {"entry": LINE // 2}, Error.ENTRY, 0),
    (END, {"output_stride": LINE // 2}, Error.OUTPUT_STRIDE, 0),
    (END, {"input_stride": LINE // 2}, Error.INPUT_STRIDE, 0),
    (store() + store() + END, {"watchdog": 1}, Error.WATCHDOG, 0),
    (store() + END, {"watchdog": 1000}, Error.NONE, 0),
]


@pytest.mark.parametrize(("code", "options", "error", "index"), ERRORS)
def test_error_codes(code, options, error, index):
    result = run(code, **options)
    assert (Error(result.error), result.error_index) == (error, index)


def operands(rng: np.random.Generator) -> Job:
    """NORM and MATMUL on random words, with random numbers in all fields of arithmetic, far beyond what models have."""
    p, rows, words, tiles = SMALL, 9, 3, 2

    def any_of(name: str) -> int:
        return int(rng.integers(1 << BY_NAME[name].bits))

    # Small rows too, and sums that are near their bounds or near zero.
    x = rng.integers(-32768, 32768, (rows, words * p.c)) >> rng.integers(16, size=(rows, 1))
    affine = rng.integers(-32768, 32768, (words, 4, p.c))
    affine[:, 1] >>= rng.integers(16)
    table = rng.integers(256, size=ACTIVATION_ENTRIES)
    data = [part.astype(kind).tobytes() for part, kind in ((x, "<i2"), (affine, "<i2"), (table, "u1"))]
    places = [16 * BYTES + 4 * LINE * number for number in range(3)]  # the last one is the longest
    bias = rng.integers(-(1 << 31), 1 << 31, (tiles, p.c)) >> rng.integers(32, size=(tiles, p.c))
    parameters = np.zeros((tiles, p.c, 8), np.uint8)
    parameters[..., :4] = bias.astype("<i4").view(np.uint8).reshape(tiles, p.c, 4)
    parameters[..., 4:] = rng.integers(256, size=(tiles, p.c, 4))
    weights = rng.integers(256, size=(tiles, words, p.c, p.k), dtype=np.uint8)
    words_of = parameters.reshape(tiles, p.c, 8 // p.k, p.k).swapaxes(1, 2)
    memory = np.concatenate([words_of, weights], 1).tobytes()
    activate = int(rng.integers(2))
    fields = {name: any_of(name) for name in ("act_mult", "act_shift", "act_zero")} if activate else {}
    dest = Dest(rng.choice([Dest.Y, Dest.X, Dest.X_ADD]))
    y = rows * words  # behind the rows of NORM
    program = b"".join([
        *(encode(Op.LOAD, dest=dest, offset=at, bytes=len(part))
          for dest, at, part in zip((Dest.X, Dest.NORM, Dest.ACTIVATION), places, data, strict=True)),
        encode(Op.NORM, statistics=int(rng.integers(8) > 0), a_stride=words, row_end=rows, tiles=words, d_stride=words,
               dim=words * p.c, norm_shift=any_of("norm_shift"), eps_high=any_of("eps_high") >> rng.integers(17),
               eps_low=any_of("eps_low") | 1),
        encode(Op.MATMUL, dest=dest, source=0, bytes=len(memory), a_stride=words, row_end=rows, k_steps=words,
               tiles=tiles, d_base=y if dest == Dest.Y else 0, d_stride=words, activate=activate,
               x_shift=any_of("x_shift"), **fields),
        encode(Op.STORE, source=0, bytes=2 * p.c * words * rows, row_end=rows, tiles=words, a_stride=words),
        encode(Op.STORE, source=0 if dest == Dest.Y else 2, bytes=2 * p.c * tiles * rows, row_end=rows, tiles=tiles,
               a_base=y if dest == Dest.Y else 0, a_stride=words, offset=STORED),
        END,
    ])  # fmt: skip
    for at, part in zip(places, data, strict=True):
        program = program.ljust(at, b"\0") + part
    return Job(0, b"", STORED + 2 * p.c * tiles * rows, memory=(program, memory.ljust(4 * LINE, b"\0")))


STORED = 4 * LINE  #: where the second STORE of `operands` begins


def test_any_operands_give_what_the_rtl_makes_of_them():
    ours, rtl = results_of(c_simulation(small().p)), results_of(harness(small().p))
    assert [number for number, (a, b) in enumerate(zip(ours, rtl, strict=True)) if a != b] == []


def results_of(machine: Harness, count: int = 60) -> list[tuple[int, bytes, bytes]]:
    """Of `operands`: error, rows of NORM and of MATMUL."""
    rng = np.random.default_rng(3)
    done = machine.run([operands(rng) for _ in range(count)], program=b"", weights=b"")
    return [(one.error, one.output[: 2 * SMALL.c * 27], one.output[STORED:]) for one in done]


#: Of instructions on SMALL's machine: fields at their bounds, then beyond them.
LIMITS = [
    (Op.NORM, {"row_end": 1}, {"tiles": 8}, {"tiles": 9}),
    (Op.NORM, {"tiles": 1}, {"row_begin": 16, "row_end": 17}, {"row_begin": 17, "row_end": 17}),
    (Op.NORM, {"tiles": 1}, {"row_end": 17}, {"row_end": 18}),
    (Op.ROUTE, {"row_end": 1}, {"tiles": 7, "k_steps": 3}, {"tiles": 7, "k_steps": 4}),
    (Op.ROUTE, {"row_end": 1}, {"tiles": 7, "k_steps": 1}, {"tiles": 8, "k_steps": 1}),
    (Op.ROUTE, {"row_end": 1}, {"tiles": 2, "k_steps": 2}, {"tiles": 2, "k_steps": 3}),
    (Op.ATTENTION, {"row_end": 1, "tiles": 1, "k_steps": 1, "pv_steps": 1}, {"key_tiles": 5}, {"key_tiles": 6}),
    (Op.ATTENTION, {"row_end": 1, "tiles": 1, "k_steps": 1, "key_tiles": 1}, {"pv_steps": 5}, {"pv_steps": 6}),
    (Op.GATHER, {"tiles": 1, "use_queue": 1}, {"expert": 6}, {"expert": 7}),
    (Op.MATMUL, {"tiles": 1, "row_end": 1}, {"k_steps": 2}, {"k_steps": 1}),
    (Op.MATMUL, {"tiles": 1, "row_end": 1}, {"k_steps": 254, "bytes": 4096}, {"k_steps": 255, "bytes": 4112}),
    (Op.MATMUL, {"tiles": 1, "row_end": 1, "keep": 1, "k_steps": 2}, {"ring_offset": 252}, {"ring_offset": 253}),
    (Op.MATMUL, {"tiles": 1, "row_end": 1, "narrow": 1, "k_steps": 3}, {"bytes": 64}, {"bytes": 56}),
    (Op.MATMUL, {"tiles": 1, "use_queue": 1, "bytes": 64, "k_steps": 2}, {"expert": 6}, {"expert": 7}),
    (Op.MATMUL, {"tiles": 1, "row_end": 1, "k_steps": 2}, {"dest": 6}, {"dest": 7}),
    (Op.MATMUL, {"tiles": 1, "row_end": 1, "k_steps": 2}, {"source": 1}, {"source": 2}),
    *((Op.MATMUL, {"tiles": 1, "row_end": 1, "k_steps": 2, "gated": 1}, {"activate": 1, "dest": 1}, wrong)
      for wrong in ({"dest": 1}, {"activate": 1}, {"activate": 1, "dest": 2}, {"activate": 1, "dest": 1, "source": 1})),
    (Op.MATMUL, {"tiles": 1, "bytes": 64, "k_steps": 2, "activate": 1, "dest": 1}, {"use_queue": 1},
     {"use_queue": 1, "gated": 1}),
    (Op.LOAD, {"dest": 8}, {"bytes": 1024}, {"bytes": 1023}),
    (Op.LOAD, {"dest": 8, "bytes": 1024}, {}, {"d_base": 1}),
    (Op.LOAD, {"dest": 7}, {"bytes": 512}, {"bytes": 520}),
    (Op.LOAD, {"dest": 4, "bytes": 8}, {"d_base": 127}, {"d_base": 128}),
    (Op.STORE, {"source": 2, "tiles": 2, "row_end": 3}, {"bytes": 48}, {"bytes": 40}),
    (Op.STORE, {"tiles": 2, "row_end": 3}, {"bytes": 48}, {"bytes": 56}),
    (Op.STORE, {"source": 2, "tiles": 1, "row_end": 1, "bytes": 8}, {"offset": 64}, {"offset": 32}),
    (Op.IMAGE, {"tiles": 1, "k_steps": 1, "bytes": 1}, {"a_stride": 1}, {"a_stride": 0}),
]  # fmt: skip


def at_limits(machine: Harness, watchdog: int = 1) -> list[bool]:
    """Of each limit, whether the fields at it and those beyond it are refused."""
    codes = [encode(op, **fields | more) for op, fields, *cases in LIMITS for more in cases]
    jobs = [Job(0, bytes(LINE), 2 * LINE, memory=(code + END, bytes(LINE)), watchdog=watchdog)
            for code in codes]  # fmt: skip
    return [one.error == Error.FIELD for one in machine.run(jobs, program=b"", weights=b"")]


@pytest.mark.parametrize("machine, watchdog", [(c_simulation, 1), (harness, 3000)], ids=["hls", "rtl"])
def test_limits(machine, watchdog):
    """What may run has no time for it in C-simulation, and some in the RTL, which takes it to find out."""
    assert at_limits(machine(small().p), watchdog) == [False, True] * len(LIMITS)


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


def spoilt_jobs(watchdog: int, count: int = 400) -> list[Job]:
    """A spoilt instruction each, behind the program it is made from."""
    work = small()
    start = work.compiled.program.ljust(-(-len(work.compiled.program) // BYTES) * BYTES, b"\0")
    return [
        Job(len(start), work.input(0), 4 * LINE, memory=(start + code, work.compiled.weights), watchdog=watchdog)
        for code in spoilt(work, count)
    ]


def refused(machine: CSimulation) -> list[tuple[int, int]]:
    """Code and index of each; an instruction that may run would take longer than the watchdog has patience."""
    jobs = spoilt_jobs(1)
    some = [machine.run(jobs[first : first + 20], program=b"", weights=b"") for first in range(0, len(jobs), 20)]
    return [(one.error, one.error_index) for results in some for one in results]


def test_what_is_refused_is_what_the_rtl_refuses():
    """Code and index; what is let through here must not be an error there, but of time."""
    late = (Error.WATCHDOG, Error.NONE)
    rtl = [Error(result.error) for result in harness(small().p).run(spoilt_jobs(3000), program=b"", weights=b"")]
    found = [Error(error) for error, _ in refused(c_simulation(small().p))]
    assert [ours if ours not in late else "runs" for ours in found] == [
        theirs if theirs not in late else "runs" for theirs in rtl
    ]
    errors = {code for code in found if code not in late}
    assert errors >= {Error.FIELD, Error.OPCODE, Error.PROGRAM_RANGE, Error.OUTPUT_RANGE, Error.INPUT_RANGE,
                       Error.NOT_FETCHED}  # fmt: skip
