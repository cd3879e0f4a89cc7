"""`hwgen synth`: what it shows and writes, and that nothing is left of what fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwgen.cli.source import open_source
from hwgen.common import tools
from hwgen.common.errors import HwgenError
from hwgen.flows.flow import Job, ModuleUsage, Report
from hwgen.flows.registry import FLOWS
from hwgen.machine.devices import Usage
from hwgen.machine.emission import TOP


class Pretended:
    """A flow that says what it is told to, or fails."""

    name, families, device = "pretended", ("xcup", "ecp5"), "xck26"

    def __init__(self, bitstream: Path) -> None:
        self.core = Usage(dsp=10, lut=1000, ff=2000, bram36=1.5)
        self.bitstream, self.fails, self.hls, self.jobs = bitstream, False, False, []

    def tools(self) -> list[Any]:
        return []

    def run(self, job: Job) -> Report:
        self.jobs.append(job)
        job.say("pretending", 1, 1)
        if self.fails:
            raise HwgenError("router", expected="that it ends well", found="exit code 9; the last it said: no route")
        modules = [ModuleUsage("core", 1, self.core), ModuleUsage("core.lane0", 4, Usage(lut=10))]
        return Report(
            self.name, job.device.name, {"router": "1.0"}, self.core + Usage(lut=40), modules, levels=7,
            longest_path=12, fmax={seed: 90.0 + seed for seed in job.seeds}, critical_path=["count[0]", "total[7]"],
            files={"accelerator.bit": self.bitstream},
        )  # fmt: skip


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Pretended:
    bitstream = tmp_path_factory.mktemp("cache") / "made"
    bitstream.write_bytes(b"bits")
    pretended = Pretended(bitstream)
    monkeypatch.setitem(FLOWS, "pretended", pretended)
    return pretended


def test_table_and_files(hwgen, project, flow):
    arguments = ("synth", project / "config.yaml", "--flow", "pretended", "--seeds", 3, "--mhz", 95)
    code, out, _ = hwgen(*arguments, "-o", project / "fpga", "--json", project / "report.json")
    assert code == 0
    for text in ("pretended: router (1.0)", "core.lane0 × 4", "1,040", "xck26", "117,120", "1.5",
                 "longest path: 7 LUTs, 12 cells with carries, from count[0] to total[7]",
                 "clock: 92 MHz, median of 3 seeds (91, 92, 93)"):  # fmt: skip
        assert text in out, text
    (job,) = flow.jobs
    assert (job.seeds, job.mhz, job.device.name) == ((1, 2, 3), 95, "xck26")
    assert f"module {TOP}(" in job.verilog
    report = json.loads((project / "report.json").read_text())
    assert report["total"] == {"dsp": 10, "lut": 1040, "ff": 2000, "bram36": 1.5, "uram": 0}
    assert report["over"] == {} and report["available"]["uram"] == 64
    assert sorted(path.name for path in (project / "fpga").iterdir()) == ["accelerator.bit", "report.json"]
    assert (project / "fpga" / "accelerator.bit").read_bytes() == b"bits"
    assert json.loads((project / "fpga" / "report.json").read_text()) == report
    assert hwgen(*arguments, "-o", project / "fpga")[0] == 2
    assert hwgen(*arguments, "-o", project / "fpga", "--force")[0] == 0


def test_a_build(hwgen, project, flow):
    """Whatever its modules are called."""
    (project / "config.yaml").write_text("model: model\ndevice: kv260\nrtl: {prefix: my_}\n")
    hwgen("build", project / "config.yaml", "-o", project / "out")
    code, out, _ = hwgen("synth", project / "out", "--flow", "pretended")
    assert code == 0 and "xck26" in out
    hwgen("synth", project / "config.yaml", "--flow", "pretended")
    assert flow.jobs[0].verilog == (project / "out" / "rtl" / "hwgen_accelerator.v").read_text()
    assert [job.top for job in flow.jobs] == [f"my_{TOP}"] * 2
    assert f"module my_{TOP}(" in flow.jobs[1].verilog


def test_hls_sources_of_a_build(hwgen, refused, project, flow):
    """Go to a flow that takes them, and no Verilog; without them nothing is begun."""
    flow.hls = True
    hwgen("build", project / "config.yaml", "-o", project / "out")
    mend = "write `backends: [amaranth, hls]` into the configuration and build it"
    for source in ("config.yaml", "out"):
        refused(str(project / source), "a build with HLS sources", mend,
                args=("synth", project / source, "--flow", "pretended", "-o", project / "fpga"))  # fmt: skip
    sources = project / "out" / "hls" / "src"
    sources.mkdir(parents=True)
    (sources / "kernel.h").write_text("// h\n")
    (sources / "kernel.cpp").write_text("// cpp\n")
    code, out, _ = hwgen("synth", project / "out", "--flow", "pretended")
    assert code == 0 and "xck26" in out
    (job,) = flow.jobs
    assert (job.verilog, job.hls) == ("", {"kernel.cpp": "// cpp\n", "kernel.h": "// h\n"})


def test_vitis_is_missing(hwgen, refused, project, monkeypatch, tmp_path_factory):
    hwgen("build", project / "config.yaml", "-o", project / "out")
    (project / "out/hls/src").mkdir(parents=True)
    (project / "out/hls/src/kernel.cpp").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    arguments = ("synth", project / "out", "--flow", "vitis")
    refused("vitis\n", "vitis_hls -f hls/vitis/run_hls.tcl steps=csynth", args=arguments)


def test_other_machines_are_as_the_build(hwgen, project):
    """What would fit is looked for among machines with the same ports and the same memories."""
    (project / "config.yaml").write_text("model: model\ndevice: kv260\nbuses: {weights: 64, weight_ports: 2}\n")
    hwgen("build", project / "config.yaml", "-o", project / "out")
    source = open_source(project / "out")
    p = source.params
    assert p.ultra_ram and p.weight_ports == 2 and source.resized(p.t, p.c, p.k, None) == p


def test_too_large(hwgen, project, flow):
    """Says what is missing, and which array would do."""
    flow.core = Usage(lut=200_000, dsp=1300)
    code, out, _ = hwgen("synth", project / "config.yaml", "--flow", "pretended")
    text = " ".join(out.split())
    assert code == 0
    assert "needs 1,300 DSP of the 1,248 of xck26 (52 too many); needs 200,040 LUT of the 117,120 of xck26" in text
    assert "would fit, by the estimate" in text


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--flow", "ise"), ("--flow", "yosys or nextpnr-ecp5 or nextpnr-nexus", "'ise'")),
        (("--device", "virtex"), ("--device", "xczu9eg, xck26", "'virtex'")),
        (("--flow", "nextpnr-ecp5", "--device", "zcu102"), ("a device of nextpnr-ecp5", "--flow yosys")),
        (("--device", "lfe5u-85f"), ("array.multiplier_bits", "18: the multipliers of lfe5u-85f", "..., multiplier")),
        (("--device", "pynq-z2"), ("array.multiplier_bits", "18: the multipliers of xc7z020")),
    ],
)  # fmt: skip
def test_refused(refused, project, arguments, texts):
    refused(*texts, args=("synth", project / "config.yaml", *arguments))


def test_a_missing_tool(refused, project, monkeypatch, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(tools.sys, "executable", str(empty / "python"))
    refused("yosys\n", "pip install 'hwgen[synth]'", args=("synth", project / "config.yaml", "-o", project / "fpga"))


def test_a_flow_that_fails(refused, project, flow):
    flow.fails = True
    arguments = ("synth", project / "config.yaml", "--flow", "pretended", "-o", project / "fpga")
    refused("router\n", "no route", args=arguments)


def test_not_a_build(refused, project):
    refused("a directory written by `hwgen build`", args=("synth", project / "model"))


@pytest.mark.slow
def test_a_whole_accelerator(project, monkeypatch, capsys):
    """The smallest one, for real."""
    from tests.command import run_command

    (project / "config.yaml").write_text("model: model\narray: {t: 2, c: 2, k: 2}\nbuses: {weights: 64, data: 64}\n")
    code, out, _ = run_command(monkeypatch, capsys, "synth", project / "config.yaml", "--json", project / "report.json")
    assert code == 0
    report = json.loads((project / "report.json").read_text())
    assert report["latches"] == report["ff_memories"] == 0
    assert 5_000 < report["total"]["lut"] < 30_000 and report["over"] == {}
    assert "softmax" in out
