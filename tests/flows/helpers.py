"""Designs, and Vivado's stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hwgen.flows import vivado
from hwgen.flows.design import Design, ports_of
from hwgen.machine.devices import find_device
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from tests.hollow import hollow_verilog

STUBS = Path(__file__).parent / "stubs" / "vivado.tcl"
BUILD_HASH = 0x0123456789ABCDEF
VERILOG = "rtl/hwgen_accelerator.v"
needs_tclsh = pytest.mark.skipif(shutil.which("tclsh") is None, reason="no tclsh on PATH: apt install tcl")


def hollow_design(p: HwParams, prefix: str = "") -> Design:
    """Of an accelerator with these parameters, without debug ports; see `hollow_verilog`."""
    emission = Emission(prefix=prefix, debug=False)
    ports = ports_of(hollow_verilog(p, BUILD_HASH, emission), emission.top)
    return Design(emission.top, VERILOG, find_device("zcu102"), 200_000_000, ports, p, BUILD_HASH)


def project_of(build: Path, design: Design, verilog: str) -> Path:
    """The directory of a build with this Verilog: as far as Vivado needs it."""
    path = build / design.verilog
    path.parent.mkdir(parents=True)
    path.write_text(verilog)
    vivado.write(build, design)
    return build


def run_vivado(build: Path, script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of `vivado/` on the stubs, in the build's directory."""
    given = ["-tclargs", *map(str, arguments)] if arguments else []
    command = ["tclsh", str(STUBS), "-mode", "batch", "-source", f"vivado/{script}", *given]
    return subprocess.run(
        command, cwd=build, env=os.environ | environment, capture_output=True, text=True, check=False
    )  # fmt: skip


def edited(path: Path, old: str, new: str) -> None:
    """Replace the first `old`, which must be there."""
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1))
