"""`hls/vitis/` on stubs of the tools' commands that refuse what the tools would refuse; the testbench, compiled."""

from __future__ import annotations

import configparser
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from hwgen.flows import vitis
from hwgen.machine.devices import boards, devices
from hwgen.machine.params import HwParams
from tests.flows.helpers import (
    HLS_STUBS,
    edited,
    hls_project_of,
    hls_run,
    hollow_design,
    needs_tclsh,
    run_hls,
    run_vivado,
)

PARAMS = HwParams(t=2, c=2, k=2, weight_bus=128, weight_ports=2, data_bus=64)
NAME = "hwgen_accelerator_hls"
XO = "hls/vitis/package_xo.tcl"
REPORT = "hls/vitis/build/hwgen/solution/syn/report/hwgen_accelerator_csynth.xml"
#: A case for each kind of mistake.
MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes_vitis.yaml").read_text())
#: Keys of the configurations, by section, as in UG1702: those that may be there once, those that may be there often.
ONCE = {
    "v++": {"part"},
    "hls": {
        "flow_target", "clock", "syn.top", "syn.cflags", "tb.cflags", "syn.interface.m_axi_addr64",
        "syn.rtl.reset_level", "csim.clean", "cosim.rtl", "vivado.rtl", "package.output.format", "package.output.syn",
        *(f"package.ip.{key}" for key in ("vendor", "library", "name", "version", "display_name", "description")),
    },
    "connectivity": {"nk"}, "clock": {"freqHz"},
}  # fmt: skip
OFTEN = {"v++": set(), "hls": {"syn.file", "tb.file"}, "connectivity": {"sp"}, "clock": set()}

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on PATH")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return hls_project_of(tmp_path_factory.mktemp("hls"), hollow_design(PARAMS))


@pytest.fixture
def build(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "build")


def settings(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Section → keys and values; raises for a key that a tool does not have, or more than one of it."""
    number = itertools.count()
    lines = path.read_text().splitlines()
    text = "\n".join(re.sub(r"^([\w.]+)=", rf"\1#{next(number)}=", line) for line in ["[v++]", *lines])
    parser = configparser.ConfigParser(delimiters="=", interpolation=None, empty_lines_in_values=False)
    parser.optionxform = str
    parser.read_string(text)
    found = {
        name: [(key.partition("#")[0], value) for key, value in parser[name].items()] for name in parser.sections()
    }
    for section, pairs in found.items():
        keys = [key for key, _ in pairs]
        assert set(keys) <= ONCE[section] | OFTEN[section]
        assert all(keys.count(key) == 1 for key in ONCE[section] & set(keys))
    return found


@needs_tclsh
def test_all_steps_at_once(build):
    done = run_hls(build, "steps=csim,csynth,cosim,export")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"hwgen: {step}" for step in ("csim", "csynth", "cosim", "export")]
    report = ElementTree.parse(build / REPORT)
    assert report.findtext("UserAssignments/Part") == devices()["xczu9eg"].part
    assert report.findtext("UserAssignments/TargetClockPeriod") == "5.00"


@needs_tclsh
def test_one_step_after_the_other(build):
    """Also where the tool leaves nothing of its own in argv; the RTL stays until it is made anew."""
    for step in ("csim", "csynth", "cosim", "export"):
        done = run_hls(build, f"steps={step}")
        assert (done.returncode, done.stderr) == (0, ""), step
    ip = (build / "hls/vitis/build/hwgen/solution/impl/ip/component.xml").read_text()
    vlnv = re.findall(r"<spirit:(?:vendor|library|name|version)>([\w.]+)<", ip)[:4]
    assert ":".join(vlnv) == vitis.packaged(hollow_design(PARAMS)).vlnv != hollow_design(PARAMS).vlnv
    assert run_hls(build).returncode == 0  # what is done without a word about steps
    before = (build / REPORT).read_text()
    assert run_hls(build, f"part={devices()['xck26'].part}", "mhz=250", "steps=csynth").returncode == 0
    assert devices()["xck26"].part in (build / REPORT).read_text() != before
    assert ">4.00<" in (build / REPORT).read_text()


@needs_tclsh
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["parts=xck26"], "unknown argument parts: must be part, mhz or steps"),
        (["part=xc7a35t"], "setup: stub: set_part: unknown part {xc7a35t}"),
        (["mhz=fast"], 'the clock must be a frequency in MHz, not "fast"'),
        (["mhz=-1"], 'the clock must be a frequency in MHz, not "-1"'),
        (["steps=csim,synth"], 'unknown step "synth": must be csim, csynth, cosim or export'),
        (["steps=cosim"], "cosim: stub: cosim_design: no RTL: csynth_design has not run"),
        (["steps=export"], "export: stub: export_design: no RTL: csynth_design has not run"),
    ],
)
def test_wrong_arguments(build, arguments, message):
    done = run_hls(build, *arguments)
    assert (done.returncode, done.stderr) == (1, f"ERROR: {message}\n")


@needs_tclsh
@pytest.mark.parametrize("command", ["csim_design", "csynth_design", "cosim_design", "export_design", "add_files"])
def test_a_step_that_fails(build, command):
    """Is the last one, and what the exit code says."""
    done = run_hls(build, "steps=csim,csynth,cosim,export", STUB_FAIL=command)
    step = command.removesuffix("_design") if command != "add_files" else "setup"
    assert (done.returncode, done.stderr) == (1, f"ERROR: {step}: stub: {command}: fails, as asked for\n")
    assert done.stdout.endswith(f"hwgen: {step}\n") or step == "setup"


@needs_tclsh
def test_kernel(build):
    """Of the IP that is there: of the script or of the unified flow."""
    assert run_vivado(build, XO).returncode == 1
    assert "no IP in " in run_vivado(build, XO).stderr
    assert run_hls(build, "steps=csynth,export").returncode == 0
    done = run_vivado(build, XO)
    assert (done.returncode, done.stderr) == (0, "")
    out = build / "hls/vitis/build"
    assert (out / f"{NAME}.xo").exists()
    (out / f"{NAME}.xo").unlink()
    (out / "unified/hls/impl").mkdir(parents=True)
    (out / "hwgen/solution/impl/ip").rename(out / "unified/hls/impl/ip")
    component = out / "unified/hls/impl/ip/component.xml"
    component.write_text(component.read_text() + "<!-- another -->\n")
    assert run_vivado(build, XO, devices()["xcu280"].part).returncode == 0 and (out / f"{NAME}.xo").exists()
    assert (out / "kernel/component.xml").read_text() == component.read_text()
    assert run_vivado(build, XO, devices()["xcu280"].part, "elsewhere").returncode == 1


@needs_tclsh
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stubs_find(build, mistake):
    facts = MISTAKES[mistake]
    edited(build / "hls" / facts["file"], facts["old"], facts["new"])
    done = run_hls(build, "steps=csim,csynth,cosim,export")
    if facts.get("shows"):
        assert (done.returncode, done.stderr) == (0, "")
        done = run_vivado(build, XO)
    assert done.returncode == 1, "not found"
    assert facts["said"] in done.stderr.splitlines()[0], done.stderr


@needs_tclsh
def test_command_line_of_the_stubs(build):
    for arguments in ([], ["hls/vitis/run_hls.tcl"], ["-f"]):
        done = subprocess.run(["tclsh", str(HLS_STUBS), *arguments], cwd=build, capture_output=True, check=False)
        assert done.returncode == 2


def test_other_names(tmp_path):
    design = hollow_design(PARAMS, "second_")
    build = hls_project_of(tmp_path, design)
    texts = [path.read_text() for path in (build / "hls/vitis").iterdir()]
    assert texts and not any(re.search(r"\bhwgen_accelerator", text) for text in texts)
    assert f'kernel name="second_{NAME}"' in (build / "hls/vitis/kernel.xml").read_text()


def test_same_bytes(build, tmp_path):
    again = hls_project_of(tmp_path / "again", hollow_design(PARAMS))
    files = sorted(path.relative_to(build) for path in build.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((build / file).read_bytes() == (again / file).read_bytes() for file in files)
    assert not any(str(tmp_path).encode() in (build / file).read_bytes() for file in files)


def test_configuration_of_the_unified_flow(build):
    """Says what the script does, and names every file."""
    found = settings(build / "hls/vitis/hls_config.cfg")
    assert found["v++"] == [("part", devices()["xczu9eg"].part)]
    hls = dict(found["hls"])
    assert hls["syn.top"] == "hwgen_accelerator" and hls["clock"] == "200MHz" and hls["flow_target"] == "vivado"
    script = (build / "hls/vitis/run_hls.tcl").read_text()
    for key, option in (("vendor", "vendor"), ("library", "library"), ("name", "ipname"), ("version", "version"),
                        ("display_name", "display_name")):  # fmt: skip
        assert f"-{option} {hls[f'package.ip.{key}']} " in script
    named = {kind: [value for key, value in found["hls"] if key == kind] for kind in ("syn.file", "tb.file")}
    home = build / "hls/vitis"
    assert {(home / file).resolve() for file in named["syn.file"]} == set((build / "hls/src").resolve().glob("*.cpp"))
    assert {(home / file).resolve() for file in named["tb.file"]} == set((build / "hls/tb").resolve().iterdir())


@pytest.mark.parametrize(
    "device, tags",
    [
        ("xczu9eg", ["HP0", "HP1", "HP2"]),
        ("xc7z020", ["HP0", "HP1", "HP2"]),
        ("xcu280", ["HBM[0]", "HBM[1]", "HBM[2]"]),
    ],
)
def test_configuration_of_the_link(tmp_path, device, tags):
    """Every master has a memory of its own, as the platforms for the device's board call it."""
    design = vitis.replace(hollow_design(PARAMS), device=devices()[device])
    found = settings(hls_project_of(tmp_path, design) / "hls/vitis/link.cfg")
    assert found["connectivity"] == [
        ("nk", f"{NAME}:1:{NAME}_1"),
        *(("sp", f"{NAME}_1.m_axi_gmem{number}:{tag}") for number, tag in enumerate(tags)),
    ]
    assert found["clock"] == [("freqHz", f"200000000:{NAME}_1.ap_clk")]


def test_every_port_has_a_tag():
    for board in boards().values():
        tags = [vitis._tag(port) for port in board.ports]
        assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("bus, ports, data", [(64, 1, 64), (128, 2, 64), (512, 4, 512)])
def test_memories(tmp_path, bus, ports, data):
    """The header has the sizes that the kernel is told."""
    p = HwParams(t=2, c=2, k=2, weight_bus=bus, weight_ports=ports, data_bus=data)
    compiled, run = hls_run(p)
    header = (hls_project_of(tmp_path, hollow_design(p)) / "hls/tb/tb_data.h").read_text()
    weights, beats = vitis.memory_beats(p, compiled)
    assert f"WEIGHT_BEATS = {weights}, DATA_BEATS = {beats};" in header
    assert weights * (bus // ports // 8) == len(run.weights[0])
    at = {name: int(base) for name, base in re.findall(r"(\w+)_BASE = (\d+)", header)}
    assert at["PROGRAM"] == 0 and all(base % 64 == 0 for base in at.values())
    assert at["INPUT"] >= len(run.program) and at["OUTPUT"] >= at["INPUT"] + len(run.input)
    assert 0 <= beats * data // 8 - (at["OUTPUT"] + max(task.size for task in run.tasks)) < 64


@pytest.fixture(scope="module")
def bench(written, tmp_path_factory) -> Path:
    """The testbench with the stub of a kernel, compiled as the README says."""
    build = shutil.copytree(written, tmp_path_factory.mktemp("tb") / "build")
    command = re.search(r"^(g\+\+ .* -o tb) && ./tb hls/tb$", (build / "hls/vitis/README.md").read_text(), re.M)[1]
    flags = "-Wall -Wextra -Werror -Wno-unused-parameter -Wno-unknown-pragmas"
    subprocess.run(f"{command} {flags}", cwd=build, shell=True, check=True)
    return build / "tb"


def run_bench(bench: Path, data: Path, does: str, *arguments: object, cwd: Path | None = None) -> tuple[int, str]:
    environment = os.environ | {"STUB_KERNEL": does, "STUB_DATA": str(data)}
    done = subprocess.run(
        [bench, *map(str, arguments)], cwd=cwd or data, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    return done.returncode, done.stdout


@needs_compiler
def test_bench_finds_its_data(bench, build, tmp_path):
    """In the working directory, as the tool puts them there, or in the one that is named."""
    data = build / "hls/tb"
    names = [task.name for task in hls_run(PARAMS)[1].tasks]
    expected = (0, "".join(f"{name}: 1234 cycles\n" for name in names) + "PASSED\n")
    assert run_bench(bench, data, "right") == expected
    assert run_bench(bench, data, "right", data, cwd=tmp_path) == expected
    assert run_bench(bench, data, "right", cwd=tmp_path) == (1, "FAILED: cannot read ./program.dat\n")
    file = data / "input.dat"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"x")
    assert run_bench(bench, data, "right") == (1, f"FAILED: ./input.dat has {size + 1} bytes, must have {size}\n")


@needs_compiler
@pytest.mark.parametrize(
    "does, runs, texts",
    [
        ("byte", 1, [r"{last}: byte 3 of the output is 0x\w\w, must be 0x\w\w", r"{last}: 1 of \d+ bytes are wrong"]),
        ("error", 1, ["{last}: error code 11, instruction 7"]),
        ("accepts", 1, ["no program: error code 0, must be 22"]),
        ("writes", 1, ["no program: the output region has been written"]),
        ("stray", 4, [r"{last}: the kernel has written address \d+, outside the output region"]),
        ("nothing", 3, ["{last}: byte 0 of the output is 0xA5, must be "]),
    ],
)
def test_bench_finds(bench, written, does, runs, texts):
    code, said = run_bench(bench, written / "hls/tb", does)
    assert code == 1 and said.endswith(f"FAILED: {runs} runs are not as expected\n")
    last = hls_run(PARAMS)[1].tasks[-1].name
    for text in texts:
        assert re.search(f"^{text.format(last=last)}", said, re.M), said
