"""The flow on stubs of the tools: its figures are those of a report (tests/flows/stubs/csynth.xml)."""

import shlex
import shutil
from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.flows.flow import Job
from hwgen.flows.vitis_hls import Vitis, usage_of
from hwgen.machine.devices import Usage, find_device
from hwgen.machine.params import HwParams
from tests.flows.helpers import HLS_STUBS, kernel_sources, needs_tclsh

SOURCES = kernel_sources(HwParams(), "my_hwgen_accelerator")
# The stub of a kernel includes what its testbench does, which a synthesis has not.
SOURCES["kernel.cpp"] = SOURCES["kernel.cpp"].replace('#include "../tb/tb_data.h"\n', "")
JOB = Job("", "my_hwgen_accelerator", find_device("kv260"), mhz=250, hls=SOURCES)
REPORT = HLS_STUBS.with_name("csynth.xml").read_text().replace("@ESTIMATED@", "3.650")
TOTAL = Usage(dsp=612, lut=61234, ff=70123, bram36=210.5, uram=8)
#: A `v++` of the unified flow: the configuration must be there, and what it names, seen from its directory.
VPP = """[ "$1" = --version ] && echo "Vitis compiler v2024.1 (64-bit)" && exit
[ "$1 $2 $3 $4 $6" = "-c --mode hls --config --work_dir" ] || exit 2
cd "$(dirname "$5")" && for file in $(sed -n "s/^syn.file=//p" "$(basename "$5")"); do [ -f "$file" ] || exit 3; done
grep -q "^part=xck26-sfvc784-2LV-c$" "$(basename "$5")" && grep -q "^clock=250MHz$" "$(basename "$5")" || exit 4
mkdir -p "../$7/hls/syn/report" && cd "../$7/hls/syn/report" && touch my_hwgen_accelerator_csynth.rpt
exec sed "s/@ESTIMATED@/3.650/" %s > my_hwgen_accelerator_csynth.xml
"""


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Puts a program with this text on PATH; a cache of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))

    def make(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    return make


@pytest.fixture
def stubbed(program):
    tclsh = shlex.quote(shutil.which("tclsh") or "tclsh")
    version = "Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2023.2 (64-bit)"
    program("vitis_hls", f'[ "$1" = -version ] && echo "{version}" && exit\nexec {tclsh} {HLS_STUBS} "$@"')


@needs_tclsh
def test_report(stubbed):
    said = []
    report = Vitis().run(replace(JOB, say=lambda *what: said.append(what)))
    assert said == [("Vitis HLS, C synthesis", 0, 1), ("Vitis HLS, C synthesis", 1, 1)]
    assert report.tools == {"vitis_hls": "v2023.2 (64-bit)"}
    assert report.total == TOTAL and report.device == "xck26"
    assert report.fmax == {1: round(1000 / (0.73 * 4), 1)}
    assert sorted(report.files) == ["vitis_csynth.rpt", "vitis_csynth.xml"]
    assert "<Part>xck26-sfvc784-2LV-c</Part>" in report.files["vitis_csynth.xml"].read_text()


@needs_tclsh
def test_kept_by_content(stubbed, monkeypatch):
    """The second time nothing runs; other sources are another run."""
    before = Vitis().run(JOB)
    monkeypatch.setenv("STUB_FAIL", "csynth_design")
    assert Vitis().run(JOB) == before
    other = replace(JOB, hls=SOURCES | {"kernel.h": SOURCES["kernel.h"] + "// other\n"})
    with pytest.raises(HwgenError, match=r"that it ends well\n  found:    exit code 1(.|\n)*fails, as asked for"):
        Vitis().run(other)


def test_unified_flow(program):
    """Where there is `v++` alone."""
    program("v++", VPP % HLS_STUBS.with_name("csynth.xml"))
    report = Vitis().run(JOB)
    assert report.tools == {"v++": "v2024.1 (64-bit)"}
    assert (report.total, report.fmax) == (TOTAL, {1: round(1000 / 3.65, 1)})


def test_a_program_that_fails(program):
    program("v++", '[ "$1" = --version ] && echo "no version" && exit\necho "ERROR: no license"; exit 1')
    with pytest.raises(HwgenError, match=r"v\+\+\n(.|\n)*exit code 1; the last it said:\n +ERROR: no license"):
        Vitis().run(JOB)
    assert Vitis().tools()[0].version == "unknown version"


def test_without_vitis(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HwgenError) as error:
        Vitis().run(JOB)
    assert error.value.text().splitlines() == [
        "vitis", "  expected: the program `vitis_hls` or `v++` on PATH", "  found:    neither",
        "  mend:     take the build to a machine that has one; in the build's directory: vitis_hls -f "
        "hls/vitis/run_hls.tcl steps=csynth",
    ]  # fmt: skip


def test_reports_of_other_versions():
    """An older name of the multipliers, no UltraRAM."""
    older = REPORT.replace("DSP>", "DSP48E>").replace("URAM>", "OTHER>")
    assert usage_of(REPORT) == (TOTAL, 3.65)
    assert usage_of(older) == (replace(TOTAL, uram=0), 3.65)


@pytest.mark.parametrize(
    ("old", "new"),
    [("<Resources>", "<Used>"), ("</Resources>", "</Used>"), ("EstimatedClockPeriod", "Clock"), (">3.650<", ">undef<"),
     (">3.650<", ">0.000<"), (">612<", ">many<"), ("</profile>", ""), ("AreaEstimates", "Estimates")],
)  # fmt: skip
def test_a_report_that_cannot_be_read(old, new):
    with pytest.raises(HwgenError, match=r"vitis: C synthesis\n(.|\n)*found:    one of another layout"):
        usage_of(REPORT.replace(old, new))
