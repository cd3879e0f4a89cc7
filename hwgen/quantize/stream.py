"""Fraction bits of the residual stream: at each addition as many as leave room for what calibration has not seen."""

from __future__ import annotations

import math
from itertools import accumulate

from hwgen.network.description import MAX_FALL, Model, MoeMlp
from hwgen.quantize.calibrate import Statistics
from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options
from hwgen.quantize.ranges import peak

__all__ = ["HEADROOM", "fraction_bits", "stream_bits"]

#: Room above the calibrated maximum of what int16 carries.
HEADROOM = 2.0
#: What int16 carries keeps its extremes whatever the method.
EXTREMES = Options(ranges="minmax")


def fraction_bits(seen: Observer) -> int:
    """Of an int16 tensor."""
    return min(15, max(0, math.floor(math.log2(32767 / (HEADROOM * peak(seen, EXTREMES))))))


def stream_bits(model: Model, seen: Statistics) -> list[int]:
    """In front of the first layer, then per layer after attention and after the MLP; they never rise
    (docs/numerics.md)."""
    places = ["stream" if model.norm_pre else "embed"]
    places += [f"layers.{i}.{at}" for i in range(len(model.layers)) for at in ("attn", "mlp")]
    bits = [fraction_bits(seen[name]) for name in places]
    falls = [MAX_FALL]
    for layer in model.layers:  # experts add to some tokens only: nothing may change there
        falls += [MAX_FALL, 0 if isinstance(layer.mlp, MoeMlp) else MAX_FALL]
    for place in reversed(range(1, len(bits))):  # what falls far later has to fall earlier, too
        bits[place - 1] = min(bits[place - 1], bits[place] + falls[place])
    return list(accumulate(bits, min))
