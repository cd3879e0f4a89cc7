"""Designs, and the stubs of Vivado and Vitis HLS."""

from __future__ import annotations

import os
import shutil
import string
import subprocess
from functools import cache
from pathlib import Path

import pytest

from hwgen.compiler import Compiled, compile_model
from hwgen.flows import vitis, vivado
from hwgen.flows.design import Design, ports_of
from hwgen.flows.vectors import Vectors, vectors
from hwgen.machine.devices import find_device
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import registers
from tests.hollow import hollow_verilog
from tests.random_model import random_description, random_images

STUBS = Path(__file__).parent / "stubs" / "vivado.tcl"
HLS_STUBS = STUBS.with_name("vitis.tcl")
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


def kernel_sources(p: HwParams, top: str) -> dict[str, str]:
    """In place of the HLS sources of a build: file name → text."""
    names = [register.name for register in registers(p) if register.access != "protocol"]
    facts = {
        "top": top, "ports": p.weight_ports, "weight_beat": p.port_bits // 8, "data_beat": p.data_bus // 8,
        "registers": ", ".join(names), "comment": "a stub",
    }  # fmt: skip
    folder = Path(__file__).parent / "kernel"
    return {path.name: string.Template(path.read_text()).substitute(facts) for path in sorted(folder.iterdir())}


@cache
def hls_run(p: HwParams) -> tuple[Compiled, Vectors]:
    """A small model whose tasks have outputs of different sizes, and its runs of two images each."""
    model = random_description(2)
    compiled = compile_model(model, p, batch=2)
    return compiled, vectors(p, model, compiled, random_images(model, 2, 1))


def hls_project_of(build: Path, design: Design) -> Path:
    """The directory of a build with the stub of a kernel: as far as Vitis needs it."""
    home = build / "hls" / "src"
    home.mkdir(parents=True)
    for name, text in kernel_sources(design.params, design.top).items():
        (home / name).write_text(text)
    vitis.write(build, design, hls_run(design.params)[1])
    return build


def run_hls(build: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`hls/vitis/run_hls.tcl` on the stubs, in the build's directory."""
    command = ["tclsh", HLS_STUBS, "-f", "hls/vitis/run_hls.tcl", *arguments]
    return subprocess.run(
        list(map(str, command)), cwd=build, env=os.environ | environment, capture_output=True, text=True, check=False
    )  # fmt: skip


def run_vivado(build: Path, script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of `vivado/`, or of another folder, on the stubs, in the build's directory."""
    given = ["-tclargs", *map(str, arguments)] if arguments else []
    source = script if "/" in script else f"vivado/{script}"
    command = ["tclsh", str(STUBS), "-mode", "batch", "-source", source, *given]
    return subprocess.run(
        command, cwd=build, env=os.environ | environment, capture_output=True, text=True, check=False
    )  # fmt: skip


def edited(path: Path, old: str, new: str) -> None:
    """Replace the first `old`, which must be there."""
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1))
