"""Multipliers of an accelerator, counted unit by unit: `product` takes several where an operand is wide."""

from __future__ import annotations

from amaranth.utils import bits_for, ceil_log2

from hwgen.estimate.units import BESIDE, REST
from hwgen.machine.params import HwParams
from hwgen.rtl.arithmetic.product import NARROW
from hwgen.rtl.arithmetic.rsqrt import Rsqrt
from hwgen.rtl.common.ports import OPERAND_BITS
from hwgen.rtl.units.norm import Norm

__all__ = ["multipliers", "pieces"]

#: Narrower operands, and narrower products, are logic and no multiplier of the device.
OPERAND, PRODUCT = 2, 9


def multipliers(p: HwParams) -> dict[str, int]:
    """Unit → multipliers."""
    wide = p.multiplier_bits
    packed = wide >= 27
    y_address = ceil_log2(max(p.y_depth, 2))
    return {
        "array": p.macs // 2 if packed else p.macs,
        # factor by multiplier, the sum's halves by that, the activation's rescaling, what gates it by the multiplier
        "post": (4 + p.gated_mlp) * p.c,
        "softmax": 0,
        "norm": _norm(p),
        "router": _products(pieces(25, False, wide), [16]),  # a reciprocal by a power
        "issue": 0,
        # an address of the write-back, the mean of MEAN, the address of an image's patches
        REST: 1 + _products(pieces(OPERAND_BITS + p.row_bits, True, wide), [16]) + (y_address >= PRODUCT),
        BESIDE: 1,  # the words that the check of operands asks for
    }


def _norm(p: HwParams) -> int:
    """LayerNorm's: per row, and per lane of the pass over it."""
    wide, y1 = p.multiplier_bits, [16]
    rows = min(p.norm_depth * p.c, Norm.MAX_DIM)
    dim, total = bits_for(rows), bits_for(rows << 15) + 1
    weighted = _products(pieces(bits_for(rows << 30), False, wide), pieces(dim, False, NARROW))
    squared = _products(pieces(total, True, wide), pieces(total, True, NARROW))
    if wide == NARROW:  # the same pieces on both sides: of two unlike ones there is one product
        count = len(pieces(total, True, wide))
        squared -= count * (count - 1) // 2
    means = _products(pieces(dim, False, wide), y1) + _products(pieces(total, True, wide), y1)
    root = 1 + 2 * _products(pieces(18, False, wide), y1)
    factor = bits_for(max(rows * Rsqrt.Y1_MAX, 64))
    return weighted + squared + means + root + p.c * (2 + _products(pieces(factor, False, wide), [16]))


def pieces(bits: int, signed: bool, wide: int) -> list[int]:
    """Bits of the pieces into which `product` cuts an operand; all but the highest are narrower than a signed one."""
    found = []
    while bits > (wide if signed else wide - 1):
        found.append(wide - 1)
        bits -= wide - 1
    return [*found, bits]


def _products(left: list[int], right: list[int]) -> int:
    """Of these pieces with each other, as far as they are multipliers."""
    return sum(min(a, b) >= OPERAND and a + b >= PRODUCT for a in left for b in right)
