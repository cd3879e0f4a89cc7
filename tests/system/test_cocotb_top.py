"""The whole accelerator behind cocotbext-axi: bit-exact under back-pressure, after resets and every kind of fault."""

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hwgen.machine.isa import BYTES, ORDER, UNITS, Dest, Op, Source
from hwgen.machine.regmap import Error
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.top import Accelerator
from sim import simulate as simulate_module
from sim.harness import Disturbance, SimulationError, Timing
from sim.isa_model import IsaError, Machine
from sim.system import Fault, Response, SystemJob, SystemResult
from tests.system.cocotb_system import FAST, TASKS, System, build_system

GMEM0_READ, GMEM1_READ, GMEM1_WRITE, GMEM2_READ = range(4)


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> System:
    return build_system(tmp_path_factory.mktemp("build"))


@pytest.mark.parametrize("timing", [Timing(0, 0, 1), Timing(30, 20, 2), Timing(4, 65, 3)], ids=str)
def test_tasks_in_turn(system, timing):
    """Outputs and all tensors, without a reset; the first inference once more gives the same."""
    order = [("digit", 0), ("segment", 1), ("digit", 2), ("segment", 3), ("digit", 0)]
    results = system.run([system.good(*job) for job in order], replace(timing, watchdog=50_000))
    for (task, image), result in zip(order, results, strict=True):
        system.check(task, image, result)
        system.check_counters(task, result)
    assert results[0].output == results[-1].output


def test_batch(system):
    """Images and outputs apart by their strides; what lies between stays untouched."""
    size, task = system.build.compiled.output_bytes["segment"], "segment"
    stride = -(-size // 64) * 64 + 64
    images = b"".join(system.images[i].tobytes().ljust(128, b"\x5a") for i in range(3))
    job = system.good(task, input=images, output_bytes=3 * stride, batch=3, input_stride=128, output_stride=stride)
    short = replace(job, registers={"output_size": 2 * stride + size - 1})
    batch, none, late = system.run([job, system.good(task, 1, batch=0), short], Timing(10, 30, 4, 50_000))

    def outputs(result: SystemResult, count: int) -> None:
        assert result.violations == []
        assert result.written == {i * stride + byte for i in range(count) for byte in range(size)}
        for i in range(count):
            (found,) = system.build.compiled.unpack_output(task, result.output[i * stride :])
            assert np.array_equal(found, system.golden[task].output[i])

    outputs(batch, 3)
    assert Error(batch.error) == Error.NONE
    length = len(system.build.compiled.instructions[task])
    assert batch.counters["instructions"] == 3 * length
    retired = iter(batch.retired)
    for i in range(3):
        system.check_retired(task, i, list(islice(retired, length - 1 - len(system.skipped(task, i)))))
    assert not list(retired)
    system.check(task, 1, none)
    outputs(late, 2)
    assert (Error(late.error), late.error_index) == (Error.OUTPUT_RANGE, system.find(task, Op.STORE))


def test_reset_in_mid_run(system):
    """The bus models are reset with the accelerator, as an interconnect would be."""
    rng = np.random.default_rng(6)
    moments = [1, *map(int, rng.integers(2, 1500, 7))]
    jobs = []
    for n, moment in enumerate(moments):
        task = TASKS[n % 2]["name"]
        jobs += [
            system.good(task, 1, reset_after=moment, reset_cycles=Accelerator.RESET_CYCLES + n % 3),
            system.good(TASKS[n // 2 % 2]["name"], n % 4),
        ]
    results = system.run(jobs, Timing(20, 20, 5, 50_000))
    for n in range(len(moments)):
        assert results[2 * n].interrupted
        assert results[2 * n].violations == []
        system.check(TASKS[n // 2 % 2]["name"], n % 4, results[2 * n + 1])


def after_each(system: System, bad: list[SystemJob], timing: Timing) -> list[SystemResult]:
    """Results of the bad jobs; after each of them a good one must be right."""
    jobs = []
    for n, job in enumerate(bad):
        jobs += [job, system.good(TASKS[n % 2]["name"], n % 4)]
    results = system.run(jobs, timing)
    for n in range(len(bad)):
        system.check(TASKS[n % 2]["name"], n % 4, results[2 * n + 1])
    return results[::2]


def fetched_ahead(system: System, index: int) -> int:
    """The instruction and its weights are asked for while those up to this one run: an error may come that early."""
    return max(0, index - system.build.params.instruction_queue)


def run_ahead(system: System, task: str, index: int) -> int:
    """The first instruction that waits for this one: an error in its data cannot come later."""
    instructions = system.build.compiled.instructions[task]
    unit = next(name for name, ops in UNITS.items() if instructions[index].op in ops)
    unfinished = 1  # of the engine's instructions, from this one on
    for later, instr in enumerate(instructions[index + 1 :], index + 1):
        if unit != "engine":
            waits = instr.op in UNITS[unit] or not instr.fields.get(f"beside_{unit}")
        else:
            room = CONTEXTS - 1 if instr.op in UNITS[unit] else CONTEXTS
            waits = unfinished > min(room, instr.fields.get("engine_lag", 0))
            unfinished += instr.op in UNITS[unit]
        if waits:
            return later
    raise AssertionError("END waits for everything")


@pytest.mark.parametrize("seed", [1, 2])
def test_bus_errors(system, seed):
    """Error responses in all three directions, at every kind of access."""
    rng = np.random.default_rng(seed)
    task, cases = "segment", []
    entry = system.build.compiled.entries[task]

    def add(port: int, region: str, offset: int, code: Error, earliest: int, latest: int) -> None:
        response = Response(int(rng.integers(2, 4)))
        job = system.good(task, 1, probes=None, faults=(Fault(port, region, int(offset), response),))
        cases.append((job, code, earliest, latest))

    last = len(system.build.compiled.instructions[task]) - 1
    streaming = [system.find(task, Op.MATMUL, number) for number in (0, 3, -1)]
    for index in streaming:
        fields = system.fields(task, index)
        earliest, latest = fetched_ahead(system, index), run_ahead(system, task, index)
        share = fields["offset"] // 2, fields["bytes"] // 2  # of each port
        for port, region, code in (
            (GMEM0_READ, "weights", Error.READ_GMEM0), (GMEM2_READ, "weights1", Error.READ_GMEM2),
        ):  # fmt: skip
            add(port, region, share[0] + rng.integers(share[1]), code, earliest, latest)
    for index in (0, int(rng.integers(1, 12)), last):
        offset = entry + index * BYTES + rng.integers(BYTES)
        add(GMEM1_READ, "program", offset, Error.READ_GMEM1, fetched_ahead(system, index), index)
    for op, port, region, code in (
        (Op.LOAD, GMEM1_READ, "program", Error.READ_GMEM1),
        (Op.IMAGE, GMEM1_READ, "input", Error.READ_GMEM1),
        (Op.STORE, GMEM1_WRITE, "output", Error.WRITE_GMEM1),
    ):
        index = system.find(task, op)
        fields = system.fields(task, index)
        for offset in (0, rng.integers(fields["bytes"]), fields["bytes"] - 1):
            add(port, region, fields["offset"] + offset, code, index, run_ahead(system, task, index))

    results = after_each(system, [case[0] for case in cases], Timing(12, 20, seed, 50_000))
    for (job, code, earliest, latest), result in zip(cases, results, strict=True):
        assert Error(result.error) == code, job.faults
        assert earliest <= result.error_index <= latest, job.faults
        system.check_stopped(task, 1, result)


def test_write_error_in_a_long_store(system):
    """Bursts announced but not filled when the error comes end without strobes; nothing wrong is ever written."""
    task, bursts = "segment", 40
    index, p = system.find(task, Op.STORE), system.build.params
    rows = system.fields(task, index)["row_end"] - system.fields(task, index)["row_begin"]
    tiles = -(-bursts * 64 * (p.data_bus // 8) // (2 * p.c * rows))
    size = 2 * p.c * rows * tiles
    memory = system.patch(task, index, tiles=tiles, bytes=size)  # addresses wrap: the same rows many times over
    job = system.good(task, 1, probes=None, memory=memory, output_bytes=size)
    faults = [Fault(GMEM1_WRITE, "output", offset) for offset in (0, size // 5, size // 2)]
    reference, *results = after_each(
        system, [job, *(replace(job, faults=(fault,)) for fault in faults)], Timing(30, 30, 8, 50_000)
    )
    assert Error(reference.error) == Error.NONE and reference.written == set(range(size))
    for fault, result in zip(faults, results, strict=True):
        assert Error(result.error) == Error.WRITE_GMEM1
        assert index <= result.error_index <= run_ahead(system, task, index)
        assert result.violations == []
        assert len(result.written) < size - 64
        assert all(result.output[byte] == reference.output[byte] for byte in result.written), fault


#: op, which of them, changed fields, expected error
ILLEGAL = [
    (Op.IMAGE, 0, {"op": 0}, Error.OPCODE),
    (Op.ROUTE, 0, {"op": 0xFF}, Error.OPCODE),
    (Op.END, 0, {"op": max(Op) + 1}, Error.OPCODE),
    (Op.MATMUL, 0, {"tiles": 0}, Error.FIELD),
    (Op.MATMUL, 0, {"bytes": 64}, Error.FIELD),
    (Op.MATMUL, 0, {"offset": 64}, Error.FIELD),
    (Op.MATMUL, 1, {"k_steps": 0, "bytes": 0}, Error.FIELD),
    (Op.MATMUL, 1, {"k_steps": 0xFFFF}, Error.FIELD),
    (Op.MATMUL, 2, {"dest": Dest.NORM}, Error.FIELD),
    (Op.MATMUL, 2, {"source": Source.X}, Error.FIELD),
    (Op.MATMUL, 3, {"row_end": 0}, Error.FIELD),
    (Op.MATMUL, 3, {"row_end": 0xFFFF}, Error.FIELD),
    (Op.MATMUL, 0, {"scatter": 1}, Error.FIELD),
    (Op.MATMUL, 0, {"keep": 0, "ring_offset": 1}, Error.FIELD),
    (Op.MATMUL, 1, {"keep": 1, "ring_offset": 0xFFFF}, Error.FIELD),
    (Op.MATMUL, -1, {"k_stride": 1}, Error.FIELD),
    (Op.MATMUL, -1, {"append": 1}, Error.FIELD),
    (Op.NORM, 0, {"tiles": 0}, Error.FIELD),
    (Op.NORM, 1, {"tiles": 1 << 12}, Error.FIELD),
    (Op.NORM, 0, {"bytes": 64}, Error.FIELD),
    (Op.ATTENTION, 0, {"key_tiles": 0}, Error.FIELD),
    (Op.ATTENTION, 1, {"row_end": 0x1000}, Error.FIELD),
    (Op.ROUTE, 0, {"k_steps": 3}, Error.FIELD),
    (Op.ROUTE, 0, {"tiles": 5}, Error.FIELD),
    (Op.GATHER, 0, {"expert": 4}, Error.FIELD),
    (Op.GATHER, 0, {"use_queue": 0}, Error.FIELD),
    (Op.GATHER, 1, {"slack": 1}, Error.FIELD),
    (Op.LOAD, 0, {"bytes": 0}, Error.FIELD),
    (Op.LOAD, 0, {"bytes": 4}, Error.FIELD),
    (Op.LOAD, 0, {"offset": 8}, Error.FIELD),
    (Op.LOAD, 0, {"d_base": 0xFFFF}, Error.FIELD),
    (Op.LOAD, 0, {"dest": Dest.X_ADD}, Error.FIELD),
    (Op.LOAD, -1, {"dest": Dest.NORM, "d_base": 0xFFFF}, Error.FIELD),
    (Op.LOAD, -1, {"table": 1}, Error.FIELD),
    (Op.IMAGE, 0, {"bytes": 0}, Error.FIELD),
    (Op.IMAGE, 0, {"a_stride": 0}, Error.FIELD),
    (Op.IMAGE, 0, {"keep": 1}, Error.FIELD),
    (Op.STORE, 0, {"source": Source.H}, Error.FIELD),
    (Op.STORE, 0, {"bytes": 8}, Error.FIELD),
    (Op.STORE, 0, {"use_queue": 1}, Error.FIELD),
    *((Op.END, 0, {name: 1}, Error.FIELD) for name in ("expert", *ORDER)),
    (Op.MATMUL, 0, {"offset": 0x10000}, Error.WEIGHTS_RANGE),
    (Op.MATMUL, -1, {"offset": 0xFFFFFF80}, Error.WEIGHTS_RANGE),
    (Op.LOAD, 0, {"offset": 0xFFFFFFC0}, Error.PROGRAM_RANGE),
    (Op.LOAD, 1, {"offset": 0x7FFFFFC0}, Error.PROGRAM_RANGE),
    (Op.IMAGE, 0, {"offset": 64}, Error.INPUT_RANGE),
    (Op.IMAGE, 0, {"offset": 0xFFFFFFC0}, Error.INPUT_RANGE),
    (Op.STORE, 0, {"offset": 64}, Error.OUTPUT_RANGE),
    (Op.STORE, 0, {"offset": 0xFFFFFFC0}, Error.OUTPUT_RANGE),
]


def test_illegal_instructions(system):
    """Each stops with its code and number before it has done anything, and the next start works."""
    task, jobs, wanted = "segment", [], []
    for op, number, fields, code in ILLEGAL:
        index = system.find(task, op, number)
        jobs.append(system.good(task, 2, probes=None, memory=system.patch(task, index, **fields)))
        wanted.append((code, index))
    for case, (code, index), result in zip(ILLEGAL, wanted, after_each(system, jobs, FAST), strict=True):
        assert Error(result.error) == code, case
        assert result.error_index == index, case
        system.check_stopped(task, 2, result)


def test_kept_weights_that_were_never_fetched(system):
    """Words that are not in the ring, or not where the instruction looks for them, would make garbage of the result."""
    task, jobs, wanted = "segment", [], []
    instructions, p = system.build.compiled.instructions[task], system.build.params
    matmuls = [i for i, instr in enumerate(instructions) if instr.op == Op.MATMUL and not instr.fields.get("use_queue")]
    for index in (matmuls[0], matmuls[2], matmuls[-1]):
        fields = system.fields(task, index)
        assert fields["bytes"] and not fields["ring_offset"]
        cases = [({"bytes": 0, "keep": 1}, index), ({"bytes": 0}, index), ({"keep": 1, "ring_offset": 1}, index)]
        behind = next(i for i in [*matmuls, len(instructions)] if i > index)
        if behind < len(instructions) and not fields["keep"]:  # the one behind it does not look behind what is kept
            queues = (i for i in range(index + 1, behind) if instructions[i].op == Op.MATMUL)
            cases.append(({"keep": 1}, next(queues, behind)))
        for change, stop in cases:
            jobs.append(system.good(task, 2, probes=None, memory=system.patch(task, index, **change)))
            wanted.append((Error.NOT_FETCHED, stop))
    assert len(jobs) > 9 and p.weight_depth > 2
    for job, (code, index), result in zip(jobs, wanted, after_each(system, jobs, FAST), strict=True):
        assert (Error(result.error), result.error_index) == (code, index), job
        system.check_stopped(task, 2, result)
        retired: list[int] = []
        with pytest.raises(IsaError, match=r"^fetched"):  # the model of the instructions agrees
            Machine(p, *job.memory, job.input, job.output_bytes).run(job.entry, retired.append)
        assert retired == [*range(index)]


def test_refused_arguments(system):
    """A start with bases and strides that would lead elsewhere does nothing at all, but say so."""
    task, compiled = "segment", system.build.compiled
    cases = [
        *(({f"{name}_base": (7 << 60) + low}, Error[f"{name.upper()}_BASE"])
          for name, low in (("program", 8), ("weights", 16), ("input", 1), ("output", 32))),
        ({"weights_base1": (7 << 60) + 32}, Error.WEIGHTS_BASE),
        *(({f"{name}_base": (1 << 64) - 64, f"{name}_size": 65}, Error[f"{name.upper()}_BASE"])
          for name in ("program", "input", "output")),
        *(({base: (1 << 64) - 64, "weights_size": 2 * 65}, Error.WEIGHTS_BASE)  # of two ports' shares
         for base in ("weights_base", "weights_base1")),
        ({"input_stride": 72}, Error.INPUT_STRIDE),
        ({"output_stride": 8}, Error.OUTPUT_STRIDE),
        ({"program_size": 0}, Error.ENTRY),
        ({"entry": len(compiled.program)}, Error.ENTRY),
        ({"entry": 0xFFFFFFC0}, Error.ENTRY),
        ({"entry": compiled.entries[task] + 32}, Error.ENTRY),
    ]  # fmt: skip
    jobs = [system.good(task, 2, probes=None, registers=registers) for registers, _ in cases]
    for (registers, code), result in zip(cases, after_each(system, jobs, FAST), strict=True):
        assert (Error(result.error), result.error_index) == (code, 0), registers
        assert result.violations == [] and not any(result.bytes) and not result.retired
        assert result.cycles < result.start_cycles + 10


def test_overlapping_outputs(system):
    """Those of a batch lie apart by at least their length."""
    task, size = "segment", system.build.compiled.output_bytes["segment"]
    store, stride = system.find(task, Op.STORE), -(-size // 64) * 64
    assert stride > 64
    job = system.good(task, 2, probes=None, output_bytes=3 * stride, batch=2)
    jobs = [replace(job, output_stride=apart) for apart in (0, 64, stride - 64, stride)]
    jobs += [replace(job, batch=batch) for batch in (0, 1)]
    *short, enough, none, one = after_each(system, jobs, FAST)
    for result in short:
        assert (Error(result.error), result.error_index) == (Error.OUTPUT_STRIDE, store)
        assert not result.written
    assert [Error(result.error) for result in (enough, none, one)] == [Error.NONE] * 3


def test_region_sizes(system):
    """Each region one byte, or one instruction, too small; programs that run out of theirs."""
    task, compiled = "segment", system.build.compiled
    entry, length = compiled.entries[task], len(compiled.instructions[task])
    end = entry + length * BYTES
    streams = [i for i in range(length) if compiled.instructions[task][i].op == Op.MATMUL]
    last = max(streams, key=lambda index: system.fields(task, index)["offset"])
    fields = system.fields(task, last)
    cases = [
        ({"input_size": compiled.input_bytes - 1}, Error.INPUT_RANGE, system.find(task, Op.IMAGE)),
        ({"input_size": 0}, Error.INPUT_RANGE, system.find(task, Op.IMAGE)),
        ({"output_size": compiled.output_bytes[task] - 1}, Error.OUTPUT_RANGE, system.find(task, Op.STORE)),
        ({"weights_size": fields["offset"] + fields["bytes"] - 1}, Error.WEIGHTS_RANGE, last),
        ({"weights_size": 0}, Error.WEIGHTS_RANGE, streams[0]),
        ({"program_size": end - 1}, Error.PROGRAM_RANGE, length - 1),
        ({"program_size": entry + 3 * BYTES}, Error.PROGRAM_RANGE, 3),
        ({"program_size": entry + BYTES - 1}, Error.PROGRAM_RANGE, 0),
    ]
    jobs = [system.good(task, 2, probes=None, registers=case[0]) for case in cases]
    for (registers, code, index), result in zip(cases, after_each(system, jobs, FAST), strict=True):
        assert Error(result.error) == code, registers
        assert result.error_index == index, registers
        system.check_stopped(task, 2, result)


def test_instructions_beyond_the_end_do_no_harm(system):
    """They are fetched, with their weights, but never run: an error in the next task is not this one's."""
    memory = system.patch("segment", system.find("segment", Op.MATMUL), offset=0x7FFFFFC0)
    (result,) = system.run([system.good("digit", 3, memory=memory)])
    system.check("digit", 3, result)


def test_protocol(system):
    """Start, done, ready, interrupt and auto-restart: tests/system/bench_protocol.py."""
    system.run([system.good("digit"), system.good("segment")], bench="tests.system.bench_protocol")


def test_first_difference_is_named(system, monkeypatch):
    """One weight is another one in the machine than in the golden model: the tensor it makes is wrong first."""
    build = system.build
    fields = system.fields("digit", system.find("digit", Op.MATMUL, dest=Dest.V))
    weights = bytearray(build.compiled.weights)
    weights[fields["offset"] + build.params.param_words * build.params.ring_bytes] ^= 0x40
    spoiled = replace(build, compiled=replace(build.compiled, weights=bytes(weights)))
    for name in ("rtl/hwgen_accelerator.v", "include/hwgen_regs.h"):
        (build.path / name).parent.mkdir(exist_ok=True)
        (build.path / name).touch()
    monkeypatch.setattr(simulate_module, "build_harness", lambda *args, **named: system.harness)
    report = simulate_module.simulate(spoiled, system.images[:1], tasks=["digit"], timing=FAST)
    assert not report.identical
    text = report.tasks["digit"].first_difference
    assert text is not None and re.match(r"image 0, task digit, instruction \d+: layers\.0\.v\[", text), text


def test_disturbances_are_for_the_other_harness(system):
    with pytest.raises(ValueError, match="a job for cocotb must have no disturbance"):
        system.run([system.good("digit", disturbance=Disturbance(stop=5))])


def test_watchdog_register(system):
    """Of one job only: the next one writes its own."""
    late, good = system.run([system.good("digit", probes=None, watchdog=300), system.good("digit")], FAST)
    assert Error(late.error) == Error.WATCHDOG and 300 < late.cycles < 600
    assert late.violations == []
    system.check("digit", 0, good)


def test_hang_is_reported(system):
    with pytest.raises(SimulationError, match=r"no end after 200 cycles; the last instruction completed was (none|\d)"):
        system.run([system.good("digit")], Timing(20, 0, 1, 200))
    assert Path(system.harness.directory).exists()
