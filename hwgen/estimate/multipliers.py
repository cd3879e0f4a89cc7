"""Multipliers of an accelerator, counted unit by unit: `product` takes several where an operand is wide."""

from __future__ import annotations

from amaranth.utils import bits_for, ceil_log2

from hwgen.estimate.units import BESIDE, REST
from hwgen.machine.params import HwParams
from hwgen.rtl.arithmetic.product import NARROW
from hwgen.rtl.arithmetic.rsqrt import Rsqrt
from hwgen.rtl.common.ports import OPERAND_BITS

__all__ = ["multipliers", "pieces"]

#: Bits of a product from which it is a multiplier of the device, and no logic.
SMALLEST = 9


def multipliers(p: HwParams) -> dict[str, int]:
    """Unit → multipliers."""
    wide = p.multiplier_bits
    packed = wide >= 27
    y_address = ceil_log2(max(p.y_depth, 2))
    return {
        "array": p.macs // 2 if packed else p.macs,
        "post": 4 * p.c,  # factor by multiplier, the sum's halves by that, the activation's rescaling
        "softmax": 0,
        "norm": _norm(p),
        "router": pieces(25, False, wide),  # a reciprocal by a power
        "issue": 0,
        # an address of the write-back, the mean of MEAN, the address of an image's patches
        REST: 1 + pieces(OPERAND_BITS + p.row_bits, True, wide) + (y_address >= SMALLEST),
        BESIDE: 1,  # the words that the check of operands asks for
    }


def _norm(p: HwParams) -> int:
    """LayerNorm's: per row, and per lane of the pass over it."""
    wide = p.multiplier_bits
    rows = min(p.norm_depth * p.c, 2047)
    dim = bits_for(rows)
    total = bits_for(rows << 15) + 1
    upper, lower = pieces(total, True, wide), pieces(total, True, NARROW)
    squared = upper * lower
    if wide == NARROW:  # the same two pieces on both sides: one product of unlike ones is the other
        squared -= upper * (upper - 1) // 2
    row = (
        pieces(bits_for(rows << 30), False, wide) * pieces(dim, False, NARROW)
        + squared
        + pieces(dim, False, wide)
        + upper
        + 1
        + 2 * pieces(18, False, wide)
    )
    factor = bits_for(max(rows * Rsqrt.Y1_MAX, 64))
    return row + p.c * (2 + pieces(factor, False, wide))


def pieces(bits: int, signed: bool, wide: int) -> int:
    """Into how many `product` cuts an operand: all but the highest are a bit narrower than a signed one."""
    count = 1
    while bits > (wide if signed else wide - 1):
        bits, count = bits - (wide - 1), count + 1
    return count
