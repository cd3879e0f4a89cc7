"""Designs, and Vivado's stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hwgen.flows import vivado
from hwgen.flows.design import Design, Port
from hwgen.machine.interfaces import masters
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import TOP

STUBS = Path(__file__).parent / "stubs" / "vivado.tcl"
BUILD_HASH = 0x0123456789ABCDEF
VERILOG = "rtl/hwgen_accelerator.v"
needs_tclsh = pytest.mark.skipif(shutil.which("tclsh") is None, reason="no tclsh on PATH: apt install tcl")


def variant(design: Design, p: HwParams, *, top: str = TOP, without: str = "-") -> Design:
    """What a build with these parameters, this name and without the ports that begin with `without` would have: its
    masters have the ports of the design's, as wide as the parameters say."""
    first, data = "m_axi_gmem0", design.data_master.name
    kept = [port for port in design.ports if not port.name.startswith((first, data, without))]
    for master in masters(p):
        like = data if master.writes else first
        for port in design.ports:
            if port.name.startswith(like):
                bits = {"RDATA": master.data_bits, "WDATA": master.data_bits, "WSTRB": master.data_bits // 8}
                signal = port.name.removeprefix(f"{like}_")
                kept.append(Port(f"{master.name}_{signal}", port.output, bits.get(signal, port.bits)))
    ports = tuple(sorted(kept, key=lambda port: port.name))
    return replace(design, top=top, ports=ports, params=p)


def project_of(build: Path, design: Design, verilog: str) -> Path:
    """The directory of a build with this Verilog: as far as Vivado needs it."""
    path = build / design.verilog
    path.parent.mkdir(parents=True)
    path.write_text(verilog)
    vivado.write(build, design)
    return build


def verilog_of(top: str, ports: tuple[Port, ...]) -> str:
    """A module with these ports and nothing in it."""
    lines = [f"module {top}({', '.join(port.name for port in ports)});"]
    for port in ports:
        span = f"[{port.bits - 1}:0] " if port.bits > 1 else ""
        lines.append(f"  {'output' if port.output else 'input'} {span}{port.name};")
    return "\n".join([*lines, "endmodule", ""])


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
