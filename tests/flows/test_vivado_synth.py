"""The flow on stubs of Vivado: its figures are those of the reports (tests/flows/stubs/reports.tcl)."""

import shlex
import shutil
from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.flows.flow import Job
from hwgen.flows.vivado_synth import Vivado, modules_of, timing_of
from hwgen.machine.devices import Usage, find_device
from hwgen.machine.params import HwParams
from tests.flows.helpers import STUBS, needs_tclsh
from tests.hollow import hollow_verilog

JOB = Job(hollow_verilog(HwParams()), "hwgen_accelerator", find_device("kv260"), mhz=250)


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    """A program `vivado` on PATH, and a cache of its own."""
    program = tmp_path / "bin" / "vivado"
    program.parent.mkdir()
    tclsh = shlex.quote(shutil.which("tclsh") or "tclsh")
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] && echo "Vivado v0.0 (stub)" && exit\nexec {tclsh} {STUBS} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))


@needs_tclsh
def test_report(stubbed):
    said = []
    report = Vivado().run(replace(JOB, say=lambda *what: said.append(what)))
    assert said == [("Vivado, synthesis", 0, 1), ("Vivado, synthesis", 1, 1)]
    assert report.tools == {"vivado": "Vivado v0.0 (stub)"}
    assert report.total == Usage(dsp=612, lut=61234, ff=70123, bram36=210.5, uram=8)
    assert {one.name: one.usage for one in report.modules} == {
        "hwgen_accelerator": Usage(lut=34, ff=123),
        "core": Usage(dsp=12, lut=11200, ff=10000, bram36=10.5),
        "core.datapath": Usage(dsp=600, lut=50000, ff=60000, bram36=200, uram=8),
    }
    assert report.fmax == {1: round(1000 / (4 - 0.125), 1)}
    assert (report.levels, report.longest_path, report.latches) == (5, 7, 2)
    assert report.critical_path == ["core/datapath/issue/step_reg[0]/C", "core/datapath/x/ram/mem_reg/WEA[0]"]
    assert sorted(report.files) == [f"vivado_{name}.rpt" for name in ("fanout", "hierarchy", "timing", "utilization")]
    assert all(path.is_file() for path in report.files.values())


@needs_tclsh
def test_kept_by_content(stubbed, monkeypatch):
    """The second time nothing runs; another clock is another run."""
    before = Vivado().run(JOB)
    monkeypatch.setenv("STUB_FAIL", "synth_design")
    assert Vivado().run(JOB) == before
    with pytest.raises(HwgenError, match=r"that it ends well\n  found:    exit code 1(.|\n)*fails, as asked for"):
        Vivado().run(replace(JOB, mhz=200))
    monkeypatch.delenv("STUB_FAIL")
    assert Vivado().run(replace(JOB, mhz=200)).fmax == {1: round(1000 / (5 - 0.125), 1)}


def test_without_vivado(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HwgenError, match=r"found:    no such program\n  mend: .*-mode batch -source vivado/synth.tcl"):
        Vivado().run(JOB)


def test_reports_of_other_versions():
    """Percentages in the cells, the DSP column's older name, no UltraRAM; and what cannot be read."""
    table = """
| Instance | Module | Total LUTs | Logic LUTs | LUTRAMs | SRLs | FFs | RAMB36 | RAMB18 | DSP48 Blocks |
| top | (top) | 100(45.61%) | 90 | 10 | 0 | 200(1.00%) | 3 | 1 | 4 |
|   (top) | (top) | 10 | 10 | 0 | 0 | 20 | 1 | 0 | 0 |
|   a | a | 90 | 80 | 10 | 0 | 180 | 2 | 1 | 4 |
"""
    assert [(one.name, one.usage) for one in modules_of(table)] == [
        ("top", Usage(lut=10, ff=20, bram36=1)), ("a", Usage(dsp=4, lut=90, ff=180, bram36=2.5)),
    ]  # fmt: skip
    for read in (modules_of, timing_of):
        with pytest.raises(HwgenError, match="found:    a report of another layout"):
            read("| Design Timing Summary\n")
