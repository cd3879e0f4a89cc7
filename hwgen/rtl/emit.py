"""Amaranth component → Verilog text, with the hand-written leaves it instantiates."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.ports import OPERAND_BITS, WEIGHT_BITS

os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")

__all__ = ["TOP", "accelerator_verilog", "debug_map", "leaf_verilog", "to_verilog"]

#: Name of the accelerator's top module.
TOP = "hwgen_accelerator"


def templates() -> Path:
    """Directory of the templates: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(str(resources.files("hwgen"))) / "templates"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "templates"


def leaf_verilog() -> str:
    """The hand-written Verilog modules."""
    return "\n".join((templates() / "rtl" / f"{name}.v").read_text() for name in ("hwgen_ram", "hwgen_replica"))


def to_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of `component` as top module `name` (clock `clk`, synchronous reset `rst`)."""
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True) + "\n" + leaf_verilog()


def accelerator_verilog(p: HwParams, build_hash: int = 0) -> str:
    """The whole accelerator, top module `hwgen_accelerator`."""
    from hwgen.rtl.top import Accelerator

    return to_verilog(Accelerator(p, build_hash=build_hash), TOP)


def debug_map(p: HwParams) -> dict[str, dict[str, object]]:
    """Where simulation finds the buffers: hierarchical paths (below the top module) of each bank's `hwgen_ram`.

    Buffer name → `paths` (one per bank), `width` in bits, `depth` in words of a bank, `element` in bits. LOGITS, QUEUE
    and COUNTS: see Router (elements of the latter two: whole words); SCORE: see Softmax.
    """
    datapath = "core.datapath"
    banked = {
        "Y": ("y", p.t, OPERAND_BITS * p.word, p.y_depth, OPERAND_BITS),
        "H": ("h", p.t, OPERAND_BITS * p.word, p.h_depth, OPERAND_BITS),
        "K": ("keys", p.c, 8 * p.word, p.k_depth, 8),
        "V": ("values", p.k, 8 * p.c, p.v_depth, 8),
        "SCORE": ("softmax.score_buffer", p.t, 16 * p.word, 2 * -(-p.max_tokens // p.word), 16),
    }
    buffers: dict[str, dict[str, object]] = {
        name: {
            "paths": [f"{datapath}.{instance}.bank{bank}.ram" for bank in range(banks)],
            "width": width,
            "depth": max(depth, 2),
            "element": element,
        }
        for name, (instance, banks, width, depth, element) in banked.items()
    }
    gate_lanes, gate_words = min(p.c, p.max_experts), -(-p.max_experts // p.c)
    queue, counts = p.row_bits + WEIGHT_BITS, p.max_experts * p.row_bits
    single = {
        "X": ("x.ram", 16 * p.c, p.x_depth, 16),
        "LOGITS": ("router.logits.ram", 24 * gate_lanes, p.max_tokens << ceil_log2(gate_words), 24),
        "QUEUE": ("router.queue.ram", queue, p.max_experts << ceil_log2(p.max_tokens), queue),
        "COUNTS": ("router.counts.ram", counts, 1, counts),
    }
    for name, (instance, width, depth, element) in single.items():
        path = f"{datapath}.{instance}"
        buffers[name] = {"paths": [path], "width": width, "depth": max(depth, 2), "element": element}
    return buffers
