"""The Verilator harness on a stand-in with the accelerator's ports (stub.v)."""

import re
from pathlib import Path

import numpy as np
import pytest

from hwgen.common.templates import templates
from hwgen.common.toolchain import trace_format
from hwgen.machine.emission import Emission
from hwgen.machine.regmap import BY_NAME, c_header
from hwgen.rtl.emit import leaf_verilog
from sim.cocotb_run import build_cocotb
from sim.harness import Harness, Job, Probe, SimulationError, Span, Timing, build_harness
from sim.icarus import build_icarus

WEIGHT = 1000
PROBES = {"all": {7: [Probe("hwgen_accelerator.mid.ram", 1, 3, 64)]}}
INPUT = np.arange(4, dtype="<u8") * 17
DEFAULT = Emission()


def build(trace: str | None = None, emission: Emission = DEFAULT, cache: Path | None = None) -> Harness:
    offsets = {"ENTRY": "entry", "WEIGHTS": "weights_base", "INPUT": "input_base", "OUTPUT": "output_base",
               "FAULTS": "error_code", "CYCLES": "cycles"}  # fmt: skip
    defines = "".join(f"`define STUB_{name} {BY_NAME[key].offset}\n" for name, key in offsets.items())
    stub = Path(__file__).with_name("stub.v").read_text()
    stub = re.sub(r"\bhwgen_(?=ram|accelerator)", f"{emission.prefix}hwgen_", stub)
    if not emission.debug:
        ports = re.findall(r"output (reg \S+ debug_\w+), ?", stub)
        stub = re.sub(r"output reg \S+ debug_\w+, ?", "", stub).replace("reg done,", f"{'; '.join(ports)}; reg done,")
    return build_harness(
        defines + stub + leaf_verilog(emission), header=c_header(), sources=templates() / "harness", emission=emission,
        trace=trace, cache=cache,
    )  # fmt: skip


@pytest.fixture(scope="module")
def harness() -> Harness:
    return build()


def run(harness: Harness, jobs: list[Job], *, timeline: bool = False, **timing: int):
    return harness.run(
        jobs, program=bytes(64), weights=WEIGHT.to_bytes(64, "little"), probes=PROBES, timeline=timeline,
        counters={"busy": BY_NAME["cycles"].offset}, timing=Timing(watchdog=2000, **timing),
    )  # fmt: skip


@pytest.mark.parametrize("timing", [{"latency": 0}, {"latency": 100}, {"stall_percent": 60, "seed": 3}])
def test_many_jobs_in_one_process(harness, timing):
    jobs = [Job(0, (INPUT + n).tobytes(), 32, "all" if n % 2 else None) for n in range(5)]
    for n, result in enumerate(run(harness, jobs, **timing)):
        assert np.array_equal(np.frombuffer(result.output, "<u8"), INPUT + n + WEIGHT)
        assert timing.get("latency", 40) < result.counters["busy"] <= result.cycles
        assert list(result.dumps) == ([7] if n % 2 else [])
        if n % 2:
            assert np.array_equal(result.dumps[7][0].view("<u8")[:, 0], (INPUT + n)[1:])


def test_latency_and_stalls_cost_cycles(harness):
    def cycles(**timing: int) -> int:
        return run(harness, [Job(0, INPUT.tobytes(), 32)], **timing)[0].cycles

    assert cycles(latency=140) - cycles(latency=40) == 200  # read, then write response
    assert cycles(latency=0, stall_percent=80) > cycles(latency=0)


def test_timeline(harness):
    """The stub begins and retires with the beats of the input, which come one a cycle once the latency is over."""
    jobs = [Job(0, INPUT.tobytes(), 32)] * 2
    for latency in (10, 100):
        for result in run(harness, jobs, timeline=True, latency=latency):
            first = result.timeline[0].begin
            assert result.timeline == [
                Span("engine", 5, first, first + 2), Span("engine", 6, first + 1, first + 3),
                Span("mover", 7, first, first + 3),
            ]  # fmt: skip
            assert latency < first < latency + 10
    assert run(harness, jobs[:1])[0].timeline == []


def test_bursts(harness):
    """The stub's three, by the cycle of their last beat: a beat of weights, four of the input, four of the output. It
    has no counters, so its cycles have no cause."""
    jobs = [Job(0, INPUT.tobytes(), 32)] * 3
    for number, result in enumerate(run(harness, jobs, timeline=2, latency=10)):
        assert result.causes == []
        if number == 2:
            assert result.bursts == [] == result.timeline
            continue
        weights, read, written = result.bursts
        assert (weights.region, weights.port, weights.offset, weights.bytes) == ("weights", 0, 0, 16)
        assert (read.region, read.port, read.offset, read.bytes) == ("input", 1, 0, 32)
        assert (written.region, written.port, written.offset, written.bytes) == ("output", 2, 0, 32)
        assert weights.first == weights.last == weights.asked + 10
        assert read.first == read.asked + 10 and read.last - read.first in range(3, 9)
        assert read.last < written.first < written.last < result.cycles
        assert result.timeline[0].begin == read.first + 1


@pytest.mark.parametrize(
    ("misdeed", "found"),
    [
        (1, "m_axi_gmem1: write outside the output of this run at address 0x800013"),
        (2, "no end after 2000 cycles; the last instruction completed was 7"),
        (3, "m_axi_gmem1: read outside the regions that it is for"),
        (4, "m_axi_gmem1: WLAST at the wrong beat"),
        (5, "m_axi_gmem1: a burst that crosses 4 KiB"),
        (6, "unit 0 retired instruction 6, which is not the oldest it has begun"),
    ],
)
def test_misdeeds_are_named(harness, misdeed, found):
    jobs = [Job(0, INPUT.tobytes(), 32), Job(misdeed, INPUT.tobytes(), 32)]
    with pytest.raises(SimulationError) as error:
        run(harness, jobs)
    assert error.value.key == "job 1"
    assert error.value.found.startswith(found[:40])


def test_without_debug_ports():
    """Under a prefix; outputs are as ever, of instructions nothing is known."""
    machine = build(emission=Emission("my_", debug=False))
    (result,) = run(machine, [Job(0, INPUT.tobytes(), 32, "all")], timeline=True)
    assert np.array_equal(np.frombuffer(result.output, "<u8"), INPUT + WEIGHT)
    assert (result.dumps, result.timeline) == ({}, [])


def test_longest_burst(harness):
    """The stub's have four beats."""
    assert run(harness, [Job(0, INPUT.tobytes(), 32)], longest_burst=4)[0].error == 0
    with pytest.raises(SimulationError, match="m_axi_gmem1: a burst longer than the memory takes"):
        run(harness, [Job(0, INPUT.tobytes(), 32)], longest_burst=3)


@pytest.mark.parametrize("port", [0, 1, 2])
def test_bus_errors_reach_the_hardware(harness, port):
    """The stub's error code has a bit for each port; the run after is not touched."""
    jobs = [Job(0, INPUT.tobytes(), 32, fault=(port, 0)), Job(0, INPUT.tobytes(), 32)]
    assert [result.error for result in run(harness, jobs)] == [1 << port, 0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vcd", "fst"])
def test_trace(tmp_path, kind):
    if kind == "fst" and trace_format() != kind:
        pytest.skip("needs lz4.h and zlib.h")
    jobs, file = [Job(0, INPUT.tobytes(), 32)], tmp_path / f"trace.{kind}"
    build(trace=kind).run(jobs, program=bytes(64), weights=bytes(64), trace=file)
    if kind == "vcd":
        assert "m_axi_gmem1_WDATA" in file.read_text()
    else:  # the header block and its length; complete, as its time of the end is there
        data = file.read_bytes()
        assert data[:9] == b"\0" + (329).to_bytes(8, "big")
        assert int.from_bytes(data[17:25], "big") > 50


def test_builds_are_cached(harness):
    assert harness.program.exists()


@pytest.mark.slow
def test_cache_of_any_name(tmp_path):
    """A home with spaces and the like; cocotb's program as well."""
    cache = tmp_path / "my cache (of $HOME)"
    machine = build(cache=cache)
    assert machine.program.is_relative_to(cache)
    assert np.array_equal(np.frombuffer(run(machine, [Job(0, INPUT.tobytes(), 32)])[0].output, "<u8"), INPUT + WEIGHT)
    verilog = "module hwgen_accelerator(input a, output reg b); always @* b = a; endmodule"
    for made in (build_cocotb(verilog, cache=cache), build_icarus(verilog, cache=cache)):
        assert any(made.directory.iterdir())
