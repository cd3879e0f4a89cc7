"""Amaranth component → Verilog text, with the hand-written leaves it instantiates."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import jinja2
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from hwgen.machine.emission import TOP, Emission
from hwgen.machine.params import HwParams
from hwgen.rtl.common.ports import OPERAND_BITS, WEIGHT_BITS
from hwgen.rtl.verilog import component_verilog

__all__ = ["TOP", "accelerator_verilog", "debug_map", "leaf_verilog", "templates", "to_verilog"]


def templates() -> Path:
    """Directory of the templates: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(str(resources.files("hwgen"))) / "templates"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "templates"


def leaf_verilog(emission: Emission = Emission()) -> str:
    """The hand-written Verilog modules."""
    return _named(_leaves(emission), emission)


def to_verilog(component: wiring.Component, name: str, emission: Emission = Emission()) -> str:
    """Verilog of `component` as top module `name` (clock `clk`, synchronous reset `rst`)."""
    return _named(f"{component_verilog(component, name)}\n{_leaves(emission)}", emission)


def accelerator_verilog(p: HwParams, build_hash: int = 0, emission: Emission = Emission()) -> str:
    """The whole accelerator, top module `emission.top`."""
    from hwgen.rtl.top import Accelerator

    return to_verilog(Accelerator(p, build_hash=build_hash, debug=emission.debug), emission.top, emission)


def _leaves(emission: Emission) -> str:
    source = (templates() / "rtl" / "hwgen_ram.v.j2").read_text()
    ram = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return ram.from_string(source).render(name="hwgen_ram", ram_init=emission.ram_init)


def _named(text: str, emission: Emission) -> str:
    """With the prefix in front of the leaves' names; all others begin with the name of the top module."""
    return re.sub(r"\bhwgen_ram\b", f"{emission.prefix}hwgen_ram", text)


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
