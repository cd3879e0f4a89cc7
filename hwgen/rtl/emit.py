"""Amaranth component → Verilog text, with the hand-written leaves it instantiates."""

from __future__ import annotations

import re

from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from hwgen.common.templates import environment
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from hwgen.rtl.common.busif import interface_attributes
from hwgen.rtl.common.ports import OPERAND_BITS, WEIGHT_BITS
from hwgen.rtl.common.ram import LEAF as RAM
from hwgen.rtl.common.ram import Target, leaf
from hwgen.rtl.common.replica import LEAF as REPLICA
from hwgen.rtl.verilog import component_verilog, with_attributes

__all__ = ["accelerator_verilog", "debug_map", "leaf_verilog", "to_verilog"]

DEFAULT = Emission()
#: Hand-written modules of templates/rtl, `NAME.v.j2`.
LEAVES = (RAM, REPLICA)
#: What Quartus calls the styles of a RAM.
QUARTUS = {
    "auto": "no_rw_check", "distributed": "MLAB, no_rw_check", "block": "M20K, no_rw_check",
    "ultra": "M20K, no_rw_check",
}  # fmt: skip


def leaf_verilog(emission: Emission = DEFAULT) -> str:
    """The hand-written Verilog modules."""
    return _prefixed("\n".join(_leaves(emission).values()), emission)


def to_verilog(
    component: wiring.Component, name: str, emission: Emission = DEFAULT, target: Target | None = None
) -> str:
    """Verilog of `component` as top module `name` (clock `clk`, synchronous reset `rst`), with the leaves it needs."""
    text = component_verilog(component, name, target)
    leaves = [leaf for module, leaf in _leaves(emission).items() if re.search(rf"\b{module}\b", text)]
    return _prefixed("\n".join([text, *leaves]), emission)


def accelerator_verilog(p: HwParams, build_hash: int = 0, emission: Emission = DEFAULT) -> str:
    """The whole accelerator, top module `emission.top`."""
    from hwgen.rtl.top import Accelerator

    accelerator = Accelerator(p, build_hash=build_hash, debug=emission.debug)
    text = to_verilog(accelerator, emission.top, emission, Target(p.ultra_ram))
    said = interface_attributes(accelerator.signature.members, p)
    return with_attributes(text, emission.top, said)


def _leaves(emission: Emission) -> dict[str, str]:
    """Text by module; of the memory, one for each style."""
    found = {}
    for name in LEAVES:
        template = environment("rtl").get_template(f"{name}.v.j2")
        for style, quartus in QUARTUS.items() if name == RAM else [("", "")]:
            module = leaf(style) if style else name
            found[module] = template.render(name=module, style=style, quartus=quartus, ram_init=emission.ram_init)
    return found


def _prefixed(text: str, emission: Emission) -> str:
    """With the prefix in front of the leaves' names, too; all others begin with the name of the top module."""
    return re.sub(rf"\b({'|'.join(_leaves(emission))})\b", rf"{emission.prefix}\1", text) if emission.prefix else text


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
