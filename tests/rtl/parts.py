"""The small components, in the shapes their benches want, as one Verilog module: one build serves all their tests."""

from __future__ import annotations

from hwgen.machine.params import HwParams
from hwgen.rtl.arithmetic.exponent import ExponentRow
from hwgen.rtl.arithmetic.rsqrt import Rsqrt
from hwgen.rtl.common.context import ContextTable
from hwgen.rtl.common.gearbox import Gearbox, ShiftQueue, Skid
from hwgen.rtl.common.ram import Ram
from hwgen.rtl.memory.widen import Widener
from tests.rtl.bundle import Bundle

#: Input and output bits.
GEARBOXES = {"down": (64, 8), "down2": (32, 16), "same": (16, 16), "up2": (8, 16), "up": (8, 64)}
SKID_BITS = 12
#: Bits, depth.
QUEUES = {"one": (5, 1), "three": (9, 3), "eight": (7, 8)}
#: Bits of the wider operand of a multiplier.
RSQRTS = {"narrow": 18, "wide": 27}
#: Scores side by side.
EXPONENTS = {"single": 1, "row": 5}
CONTEXT = ("dest", "row_end", "k_steps", "act_zero", "slack")
MORE = {"rows": 16, "flag": 1}
#: Bits, words, write grain.
RAMS = {"bytes": (24, 5, 8), "word": (16, 8, 16), "tiny": (3, 1, 3)}
#: A ring word of one piece with eight and with one parameter word, of two, and of eight pieces.
WIDENERS = {
    "down": HwParams(t=4, c=4, k=1, weight_bus=512),
    "same": HwParams(t=2, c=2, k=8, weight_bus=128),
    "up2": HwParams(t=2, c=4, k=8, weight_bus=128),
    "up8": HwParams(t=8, c=8, k=8, weight_bus=64),
}


def parts() -> Bundle:
    """Ports of the part `x` of the kind `gearbox` begin with `gearbox_x_`."""
    return Bundle(
        **{f"gearbox_{name}": Gearbox(in_bits=wide, out_bits=out) for name, (wide, out) in GEARBOXES.items()},
        skid=Skid(width=SKID_BITS),
        **{f"queue_{name}": ShiftQueue(width=width, depth=depth) for name, (width, depth) in QUEUES.items()},
        **{f"rsqrt_{name}": Rsqrt(multiplier_bits=bits) for name, bits in RSQRTS.items()},
        **{f"exponent_{name}": ExponentRow(k=k) for name, k in EXPONENTS.items()},
        context=ContextTable(CONTEXT, **MORE),
        **{f"ram_{name}": Ram(width=bits, depth=depth, grain=grain) for name, (bits, depth, grain) in RAMS.items()},
        **{f"widener_{name}": Widener(p) for name, p in WIDENERS.items()},
    )
