"""The scripts of `vivado/`, run on stubs of Vivado's commands that refuse what Vivado would refuse."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hwgen.flows import vivado
from hwgen.machine.devices import boards, devices
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from tests.flows.helpers import STUBS, edited, hollow_design, needs_tclsh, project_of, run_vivado
from tests.hollow import hollow_verilog

BOARDS = ("zcu102", "kv260", "pynq-z2")
SCRIPTS = ("synth.tcl", "impl.tcl", "package_ip.tcl", "package_xo.tcl", *(f"board_{board}.tcl" for board in BOARDS))
#: A case for each kind of mistake.
MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())

pytestmark = needs_tclsh


@pytest.mark.parametrize("script", SCRIPTS)
def test_runs(project, script):
    done = run_vivado(project, script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("ports, bus", [(1, 256), (2, 256), (4, 512)])
def test_runs_with_other_names_and_masters(tmp_path, ports, bus):
    """A prefix, no debug ports, several weight ports: of everything the scripts say."""
    p = HwParams(weight_ports=ports, weight_bus=bus)
    other = replace(hollow_design(p, "second_"), verilog="rtl/second.v")
    build = project_of(tmp_path, other, hollow_verilog(p, 0, Emission("second_")))
    for script in SCRIPTS:
        done = run_vivado(build, script)
        assert (script, done.returncode, done.stderr) == (script, 0, "")
    assert (build / "vivado/build/second_hwgen_accelerator.xo").exists()
    texts = [path for path in (build / "vivado").rglob("*") if path.suffix in (".tcl", ".xml", ".xdc", ".md")]
    assert texts and not any(re.search(r"\bhwgen_accelerator", path.read_text()) for path in texts)


@pytest.mark.parametrize("board", BOARDS)
def test_board_files(hollow, board):
    for script in ("package_ip.tcl", f"board_{board}.tcl"):
        assert run_vivado(hollow, script).returncode == 0
    out = hollow / "vivado/build"
    assert all((out / f"board_{board}{suffix}").stat().st_size for suffix in (".bit", ".hwh", ".xsa", "_timing.rpt"))


def test_arguments(hollow):
    assert run_vivado(hollow, "synth.tcl", devices()["xck26"].part, 250).returncode == 0
    assert "-period 4.000 [get_ports ap_clk]" in (hollow / "vivado/build/clock.xdc").read_text()
    top, part, stage, period = (hollow / "vivado/build/synth.dcp").read_text().split()
    assert (part, stage, period) == (devices()["xck26"].part, "synth", "4.000")
    assert run_vivado(hollow, "impl.tcl").returncode == 0  # of that checkpoint
    assert (hollow / "vivado/build/impl.dcp").read_text().split() == [top, part, "route", period]
    assert run_vivado(hollow, "impl.tcl", devices()["xczu9eg"].part, 125).returncode == 0  # anew
    assert "8.000" in (hollow / "vivado/build/impl.dcp").read_text()
    assert "the clock is 150000000 Hz" in run_vivado(hollow, "board_kv260.tcl", 150, 8).stdout


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("synth.tcl", ["xc7a35t"], "xc7a35t is not a part of this Vivado: is its family installed?"),
        ("synth.tcl", [devices()["xck26"].part, "fast"], 'the clock must be a frequency in MHz, not "fast"'),
        ("board_zcu102.tcl", ["-1"], 'the clock must be a frequency in MHz, not "-1"'),
        ("package_ip.tcl", ["zu9"], "zu9 is not a part of this Vivado"),
    ],
)
def test_wrong_arguments(hollow, script, arguments, message):
    done = run_vivado(hollow, script, *arguments)
    assert done.returncode == 1 and message in done.stderr


def test_no_board_files(hollow):
    for board in BOARDS:
        name = boards()[board].board_part.split(":")[1]
        edited(hollow / f"vivado/board_{board}.tcl", f":{name}:", ":another:")
        done = run_vivado(hollow, f"board_{board}.tcl")
        assert done.returncode == 1 and f"this Vivado has no board files of {board}" in done.stderr


def test_slack_is_looked_at(hollow):
    done = run_vivado(hollow, "board_zcu102.tcl", 300, STUB_WNS="-0.25")
    assert "300 MHz are missed by -0.25 ns" in done.stdout
    assert "missed" not in run_vivado(hollow, "board_zcu102.tcl").stdout


def test_same_bytes(design, hollow, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    vivado.write(again, design)
    one, other = hollow / "vivado", again / "vivado"
    files = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    for file in files:
        assert not re.search(rf"{re.escape(str(tmp_path))}|\b20\d\d-\d\d-\d\d\b", (one / file).read_text())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stubs_find(hollow, mistake):
    facts = MISTAKES[mistake]
    edited(hollow / "vivado" / facts["file"], facts["old"], facts["new"])
    script = facts.get("shows") or (facts["file"] if facts["file"] in SCRIPTS else "synth.tcl")
    done = run_vivado(hollow, script)
    assert done.returncode == 1, "not found"
    assert facts["said"] in done.stderr.splitlines()[0], done.stderr


def test_command_line_of_the_stubs(hollow):
    for arguments in (["-batch"], ["-mode", "batch", "-source", "vivado/synth.tcl", "-args", "x"]):
        done = subprocess.run(["tclsh", str(STUBS), *arguments], cwd=hollow, capture_output=True, check=False)
        assert done.returncode == 1
