"""Scales and offsets of the 8-bit tensors: what one step of each channel is worth.

A tensor with one scale wastes codes on its small channels. Where the operators around it let a factor and an offset of
each channel pass, they cost the hardware nothing:

* LayerNorm's gamma and beta take any scale and offset, the next weights and bias take them back (RepQ-ViT, Li et al.,
  2023; with the weights' ranges SmoothQuant, Xiao et al., 2023; with the offset MPTQ-ViT, Tai and Wu, 2024).
* A factor on a channel of q divides that of k: the score does not change.
* A factor and an offset on a channel of v pass through the weighted mean of attention into the projection after it.

An offset of k's input adds the same to all scores of a query, which the softmax does not see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options
from hwgen.quantize.ranges import channel_bounds, peak, peaks, rule

#: Largest code of the array's row operands (nine bits), and of k and v, its column operands like weights (eight).
ROW, COLUMN = 255, 127
#: What the product of a gated MLP's second projection and the multiplier is divided by.
GATE = 128
#: Exponent of the activations' ranges in the factor of a channel, by `repq` and `equalize`; the weights' is one less.
SHARES = {(True, False): 1.0, (False, True): 0.5, (True, True): 0.75}
#: Exponent of the context's ranges in the factor that v and context share; v's is the rest: it has a bit less.
CONTEXT_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Real value of an int8 tensor's codes, one number per channel: code·step + centre."""

    step: np.ndarray
    centre: np.ndarray

    @classmethod
    def uniform(cls, channels: int, end: float, top: int = ROW) -> Grid:
        """One scale for all channels: code `top` is `end`."""
        return cls(step=np.full(channels, end / top), centre=np.zeros(channels))


def post_norm(
    seen: Observer, weights: list[np.ndarray], options: Options, kind: str, even: bool = False
) -> Grid:
    """Grid of a LayerNorm's or rescale's output that feeds linear layers of these weights [out, channels]; `even`: with
    one step for all channels, whose centres may still differ."""
    channels = len(seen.low)
    options, room = rule(options, kind)
    if not (options.repq or options.equalize):
        return Grid.uniform(channels, room * peak(seen, options))
    low, high = channel_bounds(seen, options)
    ends, centre = room * (high - low) / 2, (low + high) / 2
    share = SHARES[options.repq, options.equalize]
    if even:
        return Grid(step=_covering(np.ones(channels), ends), centre=centre)
    columns = np.max([np.abs(weight).max(0) for weight in weights], axis=0)
    factor = ends**share / np.maximum(columns, 1e-6) ** (1 - share)
    return Grid(step=_covering(factor, ends), centre=centre)


def query_key(
    q: Observer, k: Observer, offset: np.ndarray, options: Options, alike: int = 1
) -> tuple[Grid, Grid]:
    """Grids of q and of k; `offset` is what k's codes lack.

    Steps of q and k have the same product in every channel: a layer has one factor for its scores. `alike`: heads that
    have the same steps.
    """
    options, _ = rule(options, "q")
    if not options.equalize:
        channels = len(q.low)
        steps = [np.full(channels, peak(q, options) / ROW), np.full(channels, peak(k, options, offset) / COLUMN)]
    else:
        each = peaks(q, options) / ROW, peaks(k, options, offset) / COLUMN
        ends = [np.tile(end.reshape(alike, -1).max(0), alike) for end in each]
        ratio = np.sqrt(ends[0] / ends[1])
        product = np.sqrt((ends[0] * ends[1]).max())
        steps = [product * ratio, product / ratio]
    return Grid(step=steps[0], centre=np.zeros(len(q.low))), Grid(step=steps[1], centre=offset)


def value_context(v: Observer, context: Observer, options: Options, even: bool = False) -> tuple[Grid, Grid]:
    """Grids of v and of the context, whose steps have the same ratio in every channel; `even`: the same steps, too."""
    channels = len(v.low)
    (of_v, _), (of_context, room) = rule(options, "v"), rule(options, "context")
    if not options.equalize:
        end = room * peak(context, of_context)
        return Grid.uniform(channels, peak(v, of_v), COLUMN), Grid.uniform(channels, end)
    low, high = channel_bounds(v, of_v)
    centre = (low + high) / 2
    ends = (high - low) / 2, room * peaks(context, of_context, centre)
    factor = np.ones(channels) if even else ends[0] ** (1 - CONTEXT_SHARE) * ends[1] ** CONTEXT_SHARE
    steps = _covering(factor, ends[0], COLUMN), _covering(factor, ends[1])
    return Grid(step=steps[0], centre=centre), Grid(step=steps[1], centre=centre)


def gated(
    up: Observer, hidden: Observer, weight: np.ndarray, options: Options, even: bool = False
) -> tuple[Grid, Grid]:
    """Grids of a gated MLP's second projection and of the product of both, which linear weights [out, channels] read.

    Steps of both have the same ratio in every channel: a layer has one factor for its activation. `even`: the same
    steps, too.
    """
    channels, (of_hidden, room), (of_up, _) = len(up.low), rule(options, "hidden"), rule(options, "up")
    ends = room * peaks(hidden, of_hidden) / ROW, peaks(up, of_up) / ROW
    if even or not options.equalize:
        steps = [np.full(channels, end.max()) for end in ends]
        return Grid(step=steps[1], centre=np.zeros(channels)), Grid(step=steps[0], centre=np.zeros(channels))
    # Half of the channels have a step as fine as their product's range allows, the others one that up's range asks for.
    ratio = float(np.median(ends[1] / ends[0]))
    each = np.maximum(ends[0], ends[1] / ratio)
    columns = np.maximum(np.abs(weight).max(0), 1e-6)
    share = SHARES[bool(options.repq), True]
    factor = np.power(each, share) / np.power(columns, 1 - share)
    step = factor * float((each / factor).max())
    return Grid(step=ratio * step, centre=np.zeros(channels)), Grid(step=step, centre=np.zeros(channels))


def _covering(factor: np.ndarray, ends: np.ndarray, top: int = ROW) -> np.ndarray:
    """The smallest steps in the proportion of `factor` whose code `top` reaches the end of every channel's range."""
    return np.asarray(factor * ((ends / factor).max() / top))
