"""The folder `vivado/` of a build: scripts, constraints, a ready IP, block designs of boards with a processor."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hwgen.flows import design as names
from hwgen.flows.design import Design, Target
from hwgen.flows.ipxact import BLOCK, RANGE, component_xml, kernel_xml, words
from hwgen.flows.render import render
from hwgen.machine.devices import Board, boards

__all__ = ["FOLDER", "board_script", "synthesis", "write"]

FOLDER = "vivado"
#: The Alveo card that the example of package_xo.tcl names.
ALVEO = "xcu280"


@dataclass(frozen=True)
class Processor:
    """The processing system of a board: `name` is that of Vivado's IP and of its template.

    clock_pin, segments: of a port → the pin with its clock; what it reaches, DRAM and other things.
    """

    name: str
    clock_pin: Callable[[str], str]
    segments: Callable[[str], list[str]]


def _number(port: str) -> int:
    """The number of a port of a ZynqMP's PS in the names of Vivado's parameters: S_AXI_GP0, ..."""
    match = re.fullmatch(r"S_AXI_HP(C?)(\d)_FPD", port)
    assert match, port
    return int(match[2]) + (0 if match[1] else 2)


def _zynqmp_segments(port: str) -> list[str]:
    short = port.removeprefix("S_AXI_").removesuffix("_FPD")
    kinds = ("DDR_LOW", "DDR_HIGH", "LPS_OCM", "QSPI", "PCIE_LOW", "PCIE_HIGH1", "PCIE_HIGH2")
    return [f"SAXIGP{_number(port)}/{short}_{kind}" for kind in kinds]


def _zynq_segments(port: str) -> list[str]:
    short = port.removeprefix("S_AXI_")
    others = ("IOP", "M_AXI_GP0", "M_AXI_GP1", "QSPI_LINEAR") if short == "ACP" else ()
    return [f"{port}/{short}_{kind}" for kind in ("DDR_LOWOCM", *others)]


_ZYNQMP = Processor("zynq_ultra_ps_e", lambda port: f"{port.lower().replace('_', '', 2)}_aclk", _zynqmp_segments)
_ZYNQ = Processor("processing_system7", lambda port: f"{port}_ACLK", _zynq_segments)
_PROCESSORS = {"zcu102": _ZYNQMP, "kv260": _ZYNQMP, "pynq-z2": _ZYNQ}


def write(build: Path, design: Design) -> None:
    """Write `vivado/` into the directory `build`, which has the Verilog."""
    home = build / FOLDER
    values = {
        "design": design, "mhz": design.mhz, "block": BLOCK, "range": RANGE, "words": list(words()),
        "alveo": boards()["u280"].device,
        **{name: getattr(names, name) for name in ("CLOCK", "RESET", "INTERRUPT", "CONTROL")},
    }  # fmt: skip
    scripts = ("impl.tcl", "package_ip.tcl", "package_xo.tcl")
    texts = synthesis(design, f"../{design.verilog}") | {name: render(f"vivado/{name}", **values) for name in scripts}
    known = [board for board in boards().values() if board.name in _PROCESSORS]
    texts |= {f"board_{board.name}.tcl": board_script(design, board) for board in known}
    gui = f"xgui/{design.top}_v{design.vlnv.rpartition(':')[2].replace('.', '_')}.tcl"
    texts["kernel.xml"] = kernel_xml(design)
    texts[f"ip/{gui}"] = render("vivado/xgui.tcl")
    up = os.path.relpath(design.verilog, f"{FOLDER}/ip")
    texts["ip/component.xml"] = component_xml(design, up, "../clock.xdc", gui)
    texts["README.md"] = render("vivado/README.md", boards=known, link=_links, **values)
    for name, text in texts.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, "utf-8")


def synthesis(target: Target, verilog: str) -> dict[str, str]:
    """synth.tcl and what it needs, file name → text; the Verilog is named as seen from their directory."""
    names = ("common.tcl", "clock.xdc", "synth.tcl")
    return {name: render(f"vivado/{name}", design=target, mhz=target.mhz, verilog=verilog) for name in names}


def board_script(design: Design, board: Board) -> str:
    """The script that makes the block design and the bitstream for a board."""
    processor = _PROCESSORS[board.name]
    return render(
        "vivado/board.tcl", design=design, board=board, processor=processor.name, links=_links(design, board),
        clock_pin=processor.clock_pin, segments=processor.segments, number=_number,
        mhz=replace(design, clock=board.clock).mhz, block=BLOCK, range=RANGE, CLOCK=names.CLOCK, RESET=names.RESET,
        INTERRUPT=names.INTERRUPT, CONTROL=names.CONTROL,
    )  # fmt: skip


def _links(design: Design, board: Board) -> list[tuple]:
    """Which master goes to which port of the board's memory: a port for each, those named first in front."""
    return list(zip(design.masters, board.ports, strict=False))
