"""`hwgen sim`: what it refuses; what it shows of C-simulation."""

import json
import re

import numpy as np

from hwgen.build import load_build
from hwgen.estimate.cycles import estimate
from hwgen.network import description
from hwgen.report.result import read_run
from sim.harness import Timing
from sim.simulate import Report, TaskReport
from tests.random_model import small_description
from tests.report.helpers import simulated


def test_sim_refuses(hwgen, refused, project):
    refused("expected: a directory written by `hwgen build`", args=("sim", project))
    hwgen("build", project / "config.yaml", "-o", project / "out")
    refused("task", "found:    nothing", args=("sim", project / "out", "--task", "nothing"))
    np.savez(project / "out" / "images.npz", images=np.zeros((2, 3, 3, 1), np.uint8))
    refused("images.npz: images", "expected: uint8 [images, ", "found:    uint8 [2, 3, 3, 1]",
            args=("sim", project / "out", "--images", "2"))  # fmt: skip


def test_c_simulation_is_refused(hwgen, refused, project):
    """Without its sources; with a waveform."""
    hwgen("build", project / "config.yaml", "-o", project / "out")
    refused(str(project / "out"), "expected: a build with the sources for Vitis HLS", "found:    no directory `hls`",
            "mend:     write `backends: [amaranth, hls]` into config.yaml and build it again",
            args=("sim", project / "out", "--engine", "hls"))  # fmt: skip
    refused("command line: --trace", "expected: --engine harness or cocotb", "found:    hls",
            args=("sim", project / "out", "--engine", "hls", "--trace"))  # fmt: skip


def test_c_simulation(hwgen, project):
    """Counters of the RTL only are left out; what the last line says is what the loops say."""
    description.save(small_description(), project / "model")
    (project / "config.yaml").write_text(
        "model: model\narray: {t: 2, c: 4, k: 4}\nbuses: {weights: 64, data: 64}\nbatch: 2\n"
        "backends: [amaranth, hls]\n"
    )
    hwgen("build", project / "config.yaml", "-o", project / "out")
    report = project / "report.json"
    code, out, err = hwgen("sim", project / "out", "--engine", "hls", "--images", "2", "--json", report)
    assert code == 0, (out, err)
    assert re.search(r"C-simulation against the golden model", out)
    for row in ("outputs identical │ 2 of 2 images │ 2 of 2", "tensors identical │ 2 of 2 images │ 2 of 2",
                "iterations per image", "gmem0_read_bytes"):  # fmt: skip
        assert row in re.sub(" +", " ", out), row
    assert "stall_" not in out and "wasted" not in out and "cycles per image" not in out

    result, made = json.loads(report.read_text()), load_build(project / "out")
    assert result["rtl_cycles"] == {
        task: estimate(made.compiled, task, made.params, latency=result["latency"]).cycles / 2
        for task in result["tasks"]
    }  # fmt: skip
    loops, runs = result["loops"], 2 * len(result["tasks"])
    units = {name.removeprefix("unit."): loop["iterations"] / runs for name, loop in loops.items() if "unit." in name}
    engine, cycles = units.pop("engine"), np.mean(list(result["rtl_cycles"].values()))
    assert (result["engine"], result["note"]) == ("hls", None)
    assert f"engine: {engine:,.0f} iterations, {engine / cycles:.1%} of the {cycles:,.0f} cycles that" in out
    assert engine > 0 and units.pop("end") == 0
    beside = [*sorted(units.items()), ("fetch", loops["sequencer.fetch"]["iterations"] / runs)]
    assert "one after another come also: " + ", ".join(f"{name} {took:,.0f}" for name, took in beside) in out
    rows = {name: both for name, *both in re.findall(r"│ (\w+\.\w+) +│ +([\d,.]+) +│ +([\d,]+) +│", out)}
    assert rows == {
        name: [f"{loop['entered'] / runs:,.1f}", f"{loop['iterations'] / runs:,.0f}"]
        for name, loop in loops.items() if not name.startswith("unit.")
    }  # fmt: skip
    assert {"array.steps", "issue.scores", "router.choose"} < set(rows)


def test_timelines_that_cannot_be(hwgen, refused, project):
    """Of other engines than the harness, of a build without debug ports: nothing is compiled nor written."""
    hwgen("build", project / "config.yaml", "-o", project / "out")
    for option in (("--timeline",), ("--perfetto", project / "trace")):
        for engine in ("cocotb", "icarus", "hls"):
            refused("command line: --timeline", "expected: --engine harness", f"found:    {engine}",
                    args=("sim", project / "out", "--engine", engine, *option))  # fmt: skip
    (project / "config.yaml").write_text("model: model\nrtl: {debug: false}\n")
    hwgen("build", project / "config.yaml", "-o", project / "bare")
    refused("bare: --timeline", "expected: a build with debug ports", "mend:     leave `debug: false` out of",
            args=("sim", project / "bare", "--timeline"))  # fmt: skip


def test_places_that_cannot_be_written(hwgen, refused, project):
    """Are said before the simulation, not behind it."""
    hwgen("build", project / "config.yaml", "-o", project / "out")
    for option in ("--json", "--perfetto"):
        for place in (project / "nowhere" / "file", project):
            refused(f"command line: {option}", "expected: a file in a directory that exists", f"found:    {place}",
                    args=("sim", project / "out", option, place))  # fmt: skip


def test_timeline_and_trace_are_written(hwgen, project, monkeypatch):
    """The measurements beside the build in one line, the trace where it was asked for."""
    hwgen("build", project / "config.yaml", "-o", project / "out")
    made = load_build(project / "out")
    seen = {}

    def simulate(build, images, **options):
        seen.update(options)
        tasks = {task: TaskReport(task, 100, timeline=simulated(made, task), cycles=[50.0])
                 for task in made.compiled.entries}  # fmt: skip
        return Report(made.params, made.model.model.name, "harness", Timing(), tasks)

    monkeypatch.setattr("sim.simulate.simulate", simulate)
    code, out, err = hwgen("sim", project / "out", "--timeline", "--perfetto", project / "run.pftrace")
    assert code == 0 and seen["timeline"] is True, err
    assert f"measurements: {project}/out/result.json" in out and f"trace: {project}/run.pftrace" in out
    assert (project / "out" / "result.json").read_text().count("\n") == 1
    assert set(read_run(project / "out" / "result.json", made).tasks) == set(made.compiled.entries)
    assert (project / "run.pftrace").stat().st_size > 1000
    hwgen("sim", project / "out", "--json", project / "plain.json")
    assert seen["timeline"] is False and (project / "plain.json").read_text().count("\n") > 10
