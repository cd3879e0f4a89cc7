"""The C++ of an accelerator: fixed kernels; parameters, tables, instructions and registers rendered from our tables.

Tested by tests/hls/test_emit.py.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.utils import ceil_log2

from hwgen.common.templates import environment, templates
from hwgen.machine import tables
from hwgen.machine.emission import TOP
from hwgen.machine.interfaces import max_beats, numbered, weight_numbers
from hwgen.machine.isa import BYTES, FIELDS, Dest, Op, Source, read_mask
from hwgen.machine.params import ALIGN, HwParams
from hwgen.machine.regmap import MAGIC, VERSION, Error, Register, registers

__all__ = ["FOLDER", "SOURCES", "Depth", "sources", "write"]

#: Of a build, and in it of what is synthesized.
FOLDER, SOURCES = "hls", "src"
SUFFIX = ".j2"
#: Reads and writes that an AXI master may have under way.
OUTSTANDING = 16


@dataclass(frozen=True)
class Depth:
    """Beats of the address space behind each weight port and the data port, for the tool's co-simulation."""

    weights: int = 1 << 20
    data: int = 1 << 20


def sources(p: HwParams, build_hash: int = 0, top: str = TOP, depth: Depth = Depth()) -> dict[str, str]:
    """All that is synthesized, file name → text."""
    home = templates() / FOLDER / SOURCES
    filled = environment(FOLDER)
    facts = _facts(p, build_hash, top, depth)
    texts = {}
    for path in sorted(home.iterdir()):
        if path.suffix == SUFFIX:
            texts[path.stem] = filled.get_template(f"{SOURCES}/{path.name}").render(facts)
        else:
            texts[path.name] = path.read_text("utf-8")
    return texts


def write(build: Path, p: HwParams, build_hash: int, top: str, depth: Depth) -> None:
    """Write `hls/` into the directory `build`."""
    target = build / FOLDER
    (target / SOURCES).mkdir(parents=True)
    for name, text in sources(p, build_hash, top, depth).items():
        (target / SOURCES / name).write_text(text, "utf-8")
    shutil.copytree(templates() / FOLDER / "csim", target / "csim")


def _facts(p: HwParams, build_hash: int, top: str, depth: Depth) -> dict[str, Any]:
    found = [one for one in registers(p) if one.access != "protocol"]
    arguments = [one for one in found if one.access == "rw"]
    results = [one for one in found if one.access != "rw"]
    return {
        "p": p, "align": ALIGN, "activation_entries": tables.ACTIVATION_ENTRIES, "magic": MAGIC, "version": VERSION,
        "build_hash": build_hash, "top": top, "bytes": BYTES, "power": lambda value: 1 << ceil_log2(value),
        "tables": [("EXP", 13, tables.EXP), ("GATE_EXP", 16, tables.GATE_EXP), ("RSQRT", 16, tables.RSQRT)],
        "enums": [
            ("Op", [(op.name, op.value) for op in Op]),
            ("Source", [(f"FROM_{one.name}", one.value) for one in Source]),
            ("Dest", [(f"TO_{one.name}", one.value) for one in Dest]),
            ("Error", [(one.name, one.value) for one in Error]),
        ],
        "fields": FIELDS, "masks": [_words(read_mask(op, p)) for op in Op],
        "ports": [f"gmem{number}" for number in weight_numbers(p)],
        "arguments": arguments, "results": results,
        "bases": [f"{numbered('weights_base', port)}.to_uint64()" for port in range(p.weight_ports)],
        "shape": f"0x{p.t | p.c << 8 | p.k << 16:08X}",
        "buses": f"0x{p.port_bits | p.weight_ports << 12 | p.data_bus << 16:08X}",
        "unknown": [one.name for one in results if not _known(one)],
        "weight_beats": depth.weights, "data_beats": depth.data, "outstanding": OUTSTANDING,
        "weight_burst": max_beats(p.max_burst, p.port_bits), "data_burst": max_beats(p.max_burst, p.data_bus),
    }  # fmt: skip


def _words(mask: int) -> list[str]:
    return [f"0x{mask >> 32 * word & 0xFFFFFFFF:08X}" for word in range(BYTES // 4)]


def _known(register: Register) -> bool:
    """Whether the kernel can tell: it does not see the cycles in which it waits, nor fetches anything in vain."""
    return not register.name.startswith("stall_") and register.name != "gmem0_wasted_bytes"
