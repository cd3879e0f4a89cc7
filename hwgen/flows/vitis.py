"""The folders `hls/vitis/` and `hls/tb/` of a build with HLS sources: scripts for Vitis, a testbench and its data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TypeVar

from hwgen import hls
from hwgen.common.templates import environment, templates
from hwgen.compiler import Compiled
from hwgen.flows.design import Design, Target
from hwgen.flows.ipxact import kernel_xml
from hwgen.flows.render import render
from hwgen.flows.vectors import TaskRun, Vectors
from hwgen.machine.devices import BoardPort, boards
from hwgen.machine.interfaces import weight_files
from hwgen.machine.params import ALIGN, HwParams
from hwgen.machine.regmap import Error

__all__ = ["BENCH", "SCRIPTS", "SOURCES", "memory_beats", "packaged", "synthesis", "write"]

#: In the build's directory: where the C++ of the kernel is, and what is written here.
SOURCES, SCRIPTS, BENCH = (f"{hls.FOLDER}/{part}" for part in (hls.SOURCES, "vitis", "tb"))
DESCRIPTION = "Accelerator for quantized Vision Transformers with mixture-of-experts, of HLS sources"
PROGRAM, INPUT = "program.dat", "input.dat"

Named = TypeVar("Named", bound=Target)


def write(build: Path, design: Design, run: Vectors) -> None:
    """Write `hls/vitis/` and `hls/tb/` into the directory `build`, which has the sources in `hls/src`."""
    for name, data in _bench(design.params, run).items():
        _write(build / BENCH / name, data)
    shutil.copy(templates() / hls.FOLDER / "tb" / "tb.cpp", build / BENCH)
    sources = sorted(path.name for path in (build / SOURCES).glob("*.cpp"))
    bench = sorted(path.name for path in (build / BENCH).iterdir())
    kernel = packaged(design)
    facts = {"target": design, "name": kernel.top, "vlnv": kernel.vlnv}
    texts = synthesis(design, sources, bench)
    texts["kernel.xml"] = kernel_xml(kernel)
    texts["link.cfg"] = render("vitis/link.cfg", links=_links(design), **facts)
    for name in ("package_xo.tcl", "README.md"):
        texts[name] = render(f"vitis/{name}", **facts)
    for name, text in texts.items():
        _write(build / SCRIPTS / name, text.encode())


def synthesis(target: Target, sources: Sequence[str], bench: Sequence[str] = ()) -> dict[str, str]:
    """run_hls.tcl and hls_config.cfg, file name → text, with names of files in `hls/src` and `hls/tb`."""
    vendor, library, name, version = packaged(target).vlnv.split(":")
    return {
        file: render(
            f"vitis/{file}", target=target, sources=sources, bench=bench, vendor=vendor, library=library, name=name,
            version=version, description=DESCRIPTION,
        )
        for file in ("run_hls.tcl", "hls_config.cfg")
    }  # fmt: skip


def packaged(target: Named) -> Named:
    """The same as IP and kernel: not named as those of the Verilog, beside which they may be."""
    return replace(target, top=f"{target.top}_hls")


def memory_beats(p: HwParams, compiled: Compiled) -> tuple[int, int]:
    """Beats of the testbench's memories: of each weight port's, of that with program, input and output. No address
    behind them is accessed: `depth` of the kernel's ports."""
    *_, end = _layout(len(compiled.program), compiled.input_bytes, max(compiled.region_bytes.values()))
    return len(compiled.weights) // p.weight_ports // (p.port_bits // 8), end // (p.data_bus // 8)


def _layout(program: int, images: int, output: int) -> tuple[int, int, int]:
    """Where input and output regions begin behind a program, and where the output ends; all of whole beats."""
    at = _aligned(program)
    return at, at + _aligned(images), at + _aligned(images) + _aligned(output)


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _bench(p: HwParams, run: Vectors) -> dict[str, bytes]:
    """What tb.cpp includes and reads, file name → contents."""
    weights = [str(PurePath(name).with_suffix(".dat")) for name in weight_files(p)]
    input_base, output_base, end = _layout(len(run.program), len(run.input), max(task.size for task in run.tasks))
    weight_beat, data_beat = p.port_bits // 8, p.data_bus // 8
    header = environment("hls").get_template("tb/tb_data.h.j2").render(
        run=run, program=PROGRAM, input=INPUT, weights=weights, expected=_expected, entry_error=int(Error.ENTRY),
        weight_beat=weight_beat, data_beat=data_beat, weight_beats=len(run.weights[0]) // weight_beat,
        data_beats=end // data_beat, input_base=input_base, output_base=output_base,
    )  # fmt: skip
    files = {"tb_data.h": header.encode(), PROGRAM: run.program, INPUT: run.input}
    files |= dict(zip(weights, run.weights, strict=True))
    return files | {_expected(task): task.expected for task in run.tasks}


def _expected(task: TaskRun) -> str:
    return f"expected_{task.name}.dat"


def _links(design: Design) -> list[tuple]:
    """Which master goes to which memory of a platform for the device's board; none for a device on no board."""
    ports = next((board.ports for board in boards().values() if board.device == design.device), ())
    return [(master, _tag(port)) for master, port in zip(design.masters, ports, strict=False)]


def _tag(port: BoardPort) -> str:
    """What platforms call a port: HP0, HPC1, ACP, HBM[12]."""
    match = re.fullmatch(r"S_AXI_(\w+?)(?:_FPD)?|SAXI_(\d+)", port.name)
    assert match, port.name
    return match[1] or f"HBM[{int(match[2])}]"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
