"""Memories of an accelerator and the RAMs they become: which there are, and the cheapest way to tile each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from amaranth.utils import ceil_log2

from hwgen.estimate.units import BESIDE, REST
from hwgen.machine.devices import Usage
from hwgen.machine.params import HwParams
from hwgen.machine.tables import ACTIVATION_ENTRIES
from hwgen.rtl.common.ports import OPERAND_BITS, WEIGHT_BITS
from hwgen.rtl.engine.array import ComputeArray
from hwgen.rtl.units.norm import statistics_latency

__all__ = ["Memory", "memories", "tiled"]


@dataclass(frozen=True)
class Memory:
    """`count` RAMs of `depth` words of `width` bits, written by `grain` bits; `unit` is one of units.py."""

    name: str
    unit: str
    count: int
    width: int
    depth: int
    grain: int


def memories(p: HwParams) -> list[Memory]:
    """Every `hwgen_ram` of the accelerator that hardware reads."""
    word, c, k = p.word, p.c, p.k
    operand, queue = OPERAND_BITS * word, p.row_bits + WEIGHT_BITS
    gate_lanes, gate_words = min(c, p.max_experts), -(-p.max_experts // c)
    norm_words = 1 << ceil_log2(p.norm_depth)
    line = 1 << ceil_log2(p.norm_depth + statistics_latency(c) + 4)
    sets = 1 << ceil_log2(3 + ComputeArray.LATENCY // p.t)
    found = [
        Memory("x", REST, 1, 16 * c, p.x_depth, 16 * c),
        Memory("y", REST, p.t, operand, p.y_depth, OPERAND_BITS),
        Memory("h", REST, p.t, operand, p.h_depth, OPERAND_BITS),
        Memory("k", REST, c, 8 * word, p.k_depth, 8),
        Memory("v", REST, k, 8 * c, p.v_depth, 8),
        Memory("scores", "softmax", p.t, 16 * word, 2 * -(-p.max_tokens // word), 16),
        Memory("weights", BESIDE, 2, 8 * p.ring_bytes, p.ring_depth // 2, 8 * p.piece_bytes),
        Memory("weight parameters", REST, p.param_words, 8 * p.ring_bytes, sets, 8 * p.ring_bytes),
        Memory("activation tables", "post", c, 8, ACTIVATION_ENTRIES, 8),
        Memory("norm parameters", "norm", 1, 48 * c, 2 * norm_words, 16 * c),
        Memory("norm line", "norm", 1, 16 * c, line, 16 * c),
        Memory("logits", "router", 1, 24 * gate_lanes, p.max_tokens << ceil_log2(gate_words), 24 * gate_lanes),
        Memory("logit line", "router", 1, 24, p.max_experts, 24),
        Memory("queue", "router", 1, queue, p.max_experts << ceil_log2(p.max_tokens), queue),
    ]
    return [replace(memory, depth=max(memory.depth, 2)) for memory in found]


@dataclass(frozen=True)
class _Block:
    """A kind of block RAM: lanes of nine bits side by side, words of each; Yosys' price of one."""

    usage: Usage
    lanes: int
    depth: int
    cost: int


#: Of Yosys' tables of RAMs: xilinx/brams_xc4v.txt, lutrams_xcu.txt, urams.txt; lattice/brams_16kd.txt.
_SMALL = [_Block(Usage(bram36=0.5), lanes, 2048 // lanes, 129) for lanes in (1, 2, 4)]
_LARGE = [_Block(Usage(bram36=1), lanes, 4096 // lanes, 257) for lanes in (1, 2, 4, 8)]
_ULTRA = [_Block(Usage(uram=1), 8, 4096, 1024)]
#: Price and LUTs of a distributed RAM of so many words, its bits; price of a multiplexer's bit behind several of them.
_LUT_COST, _LUTS, _LUT_SHAPES, _MUX_COST = 16, 8, ((32, 14), (64, 7)), 0.5


def tiled(memory: Memory, *, ultra: bool = False, family: str = "xcup", style: str = "auto") -> Usage:
    """All its RAMs: block, ultra or distributed, as `style` says; auto: whatever is the cheapest. LUTs are those that
    hold bits; flip-flops those of the read port, which a block RAM has inside."""
    ways = [way for way in _ways(memory, ultra, family) if style in ("auto", way[0])]
    return min(ways, key=lambda way: way[1])[2] * memory.count


def _ways(memory: Memory, ultra: bool, family: str) -> Iterator[tuple[str, float, Usage]]:
    """Style, price and usage of each way to make one RAM."""
    grains = memory.width // memory.grain
    amd = family in ("xcup", "xc7")
    for block in _SMALL + (_LARGE if amd else []) + (_ULTRA if ultra else []):
        lanes = grains * -(-memory.grain // 9)
        tiles = -(-lanes // block.lanes) * -(-memory.depth // block.depth)
        yield "ultra" if block.usage.uram else "block", tiles * block.cost, block.usage * tiles
    for depth, bits in _LUT_SHAPES if amd else ((16, 4),):
        rows = -(-memory.depth // depth)
        cells = grains * -(-memory.grain // bits) * rows
        cost, luts = (_LUT_COST, _LUTS) if amd else (4, 6)
        price = cost * memory.width / bits * rows + _MUX_COST * (rows - 1) * memory.width
        yield "distributed", price, Usage(lut=luts * cells, ff=memory.width)
