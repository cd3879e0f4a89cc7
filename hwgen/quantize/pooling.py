"""Steps of the mean over patch tokens in front of a LayerNorm (`head: mean_norm`), which passes through int8 twice.

Each channel's residual stream is centred where its mean over the tokens usually lies and rounded to a step `s_c` of its
own; the mean over the tokens is rounded to `f·s_c`, with one factor f for all channels, as the hardware has one
multiplier. The tokens' rounding averages out over n tokens, so the error of a channel is s_c²·(1/n + f²)/12: a small f
is good until the means' range, 127·f·s_c, forces larger s_c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Room for means beyond the calibrated ones. A mean's range is seen in few samples, one per image.
HEADROOM = 1.5
#: Steps differ by this at most, so that the smallest gamma of the rescale still has seven bits.
SPREAD = 256

Bounds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Pooling:
    """centre, steps: [D], of the int8 tokens; factor: how many of its channel's steps one step of the mean is."""

    centre: np.ndarray
    steps: np.ndarray
    factor: float


def pooling(tokens: Bounds, means: Bounds, count: int) -> Pooling:
    """The steps for ranges (low, high) [D] of the tokens and of their means over `count` tokens."""
    centre = (means[0] + means[1]) / 2
    reach = np.maximum(tokens[1] - centre, centre - tokens[0])
    reach = np.maximum(reach, reach.max() / SPREAD)
    spread = HEADROOM * (means[1] - means[0]) / 2
    factors = np.append(spread / reach, 1 / np.sqrt(count))
    factors = factors[factors > 0]
    steps = np.maximum(reach, spread / factors[:, None]) / 255
    error = (steps**2).sum(1) * (1 / count + factors**2)
    best = int(error.argmin())
    return Pooling(centre, steps[best], float(factors[best]))
