"""Where a quantized tensor's range ends: at the extremes, at a percentile, or where the squared error is smallest.

A wider range has coarser steps, a narrower one saturates more values (Nagel et al., "A white paper on neural network
quantization", 2021, section 3.1).
"""

from __future__ import annotations

import numpy as np

from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options

#: Ranges keep this many significant bits, so that the last bits of a machine's arithmetic do not reach the description.
RANGE_BITS = 12
#: Steps of the range of a row operand, for the squared error of rounding. k and v have half as many: their ranges get a
#: little more than they need.
STEPS = 510
#: `ranges: auto`: by kind of tensor where its range ends, and how much room it gets. Found on a trained DINOv2
#: (docs/quantization.md): what a rare large value of an unseen image loses there counts for more than the step.
#: What `norm_pre` loses of a token that is unlike the others (a class token) no later layer brings back; what a norm
#: behind attention makes is alike in all tokens of an image, so that few values are seen of each channel.
AUTO = {
    "norm_pre": ("minmax", 1.0), "post_norm": ("minmax", 1.5), "norm2": ("minmax", 1.25), "rescale2": ("minmax", 1.25),
    "context": ("minmax", 1.25), "v": ("minmax", 1.0), "up": ("minmax", 1.0), "hidden": ("minmax", 1.0),
}  # fmt: skip
#: As many samples of a channel tell its range.
SAMPLES = 1 << 12
#: The smallest end of a range: no step is zero.
SMALLEST = 1e-6


def rule(options: Options, kind: str) -> tuple[Options, float]:
    """Options with the method for tensors of a kind (`norm1`, `q`, ..., the last part of their names), and the room."""
    ranges, room = AUTO.get(kind, ("mse", 1.0)) if options.ranges == "auto" else (options.ranges, 1.0)
    return options.model_copy(update={"ranges": ranges}), room


def round_up(value: np.ndarray) -> np.ndarray:
    """The next number of RANGE_BITS significant bits."""
    mantissa, exponent = np.frexp(value)
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissa, RANGE_BITS)), exponent - RANGE_BITS))


def peaks(seen: Observer, options: Options, offset: np.ndarray | float = 0) -> np.ndarray:
    """End of a symmetric range around zero for each channel of the tensor minus `offset`; positive."""
    ends = np.maximum(offset - seen.low, seen.high - offset)
    if options.ranges != "minmax":
        values, counts = _folded(*_points(seen, offset))
        ends = np.minimum(ends, _end(values, counts, -values, options, 1 - options.percentile / 100))
    return round_up(np.maximum(ends + _unseen(seen), SMALLEST))


def peak(seen: Observer, options: Options, offset: np.ndarray | float = 0) -> float:
    """End of a symmetric range around zero for the whole tensor minus `offset`; positive."""
    end = np.maximum(offset - seen.low, seen.high - offset).max(keepdims=True)
    if options.ranges != "minmax":
        values, counts = _points(seen, offset)
        values, counts = _folded(values[counts > 0][None], counts[counts > 0][None])
        end = np.minimum(end, _end(values, counts, -values, options, 1 - options.percentile / 100))
    return float(round_up(np.maximum(end, SMALLEST))[0])


def channel_bounds(seen: Observer, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of a range for each channel of the tensor."""
    low, high = seen.low, seen.high
    if options.ranges != "minmax":
        low, high = _both_ends(*_points(seen), low, high, options)
    middle, half = (low + high) / 2, round_up(np.maximum((high - low) / 2 + _unseen(seen), SMALLEST))
    # Rounded to a fraction of the step, for the reason above.
    middle = np.rint(middle / half * 2**RANGE_BITS) * half / 2**RANGE_BITS
    return middle - half, middle + half


def bounds(seen: Observer, options: Options) -> tuple[float, float]:
    """Low and high end, at most and at least zero, of a range for the whole tensor; never both zero."""
    low, high = seen.low.min(keepdims=True), seen.high.max(keepdims=True)
    if options.ranges != "minmax":
        low, high = _both_ends(*_points(seen), low, high, options)
    return -float(round_up(np.maximum(-low, 0))[0]), float(round_up(np.maximum(high, SMALLEST))[0])


def _unseen(seen: Observer) -> np.ndarray:
    """How much farther out than n samples of a channel SAMPLES would reach: the largest of n normally distributed
    values lies about sqrt(2 ln n) deviations from their mean. A class token's channel has one sample per image.
    """
    missing = np.sqrt(2 * np.log(SAMPLES)) - np.sqrt(2 * np.log(seen.count))
    return np.asarray(max(missing, 0) * np.sqrt(seen.variance()))


def _points(seen: Observer, offset: np.ndarray | float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values [rows, points], ascending, of the tensor minus `offset`, and their counts."""
    assert seen.histogram is not None, "percentile and mse need a histogram"
    return seen.histogram.centres() - np.reshape(offset, (-1, 1)), seen.histogram.counts


def _folded(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The magnitudes, ascending, and their counts."""
    order = np.argsort(np.abs(values), axis=1, kind="stable")
    return np.take_along_axis(np.abs(values), order, 1), np.take_along_axis(counts, order, 1)


def _both_ends(
    values: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    """First the high end for the extreme low one, then the low end for that."""
    tail = (1 - options.percentile / 100) / 2
    high = np.minimum(high, _end(values, counts, low[:, None], options, tail))
    low = np.maximum(low, -_end(-values[:, ::-1], counts[:, ::-1], -high[:, None], options, tail))
    return low, high


def _end(values: np.ndarray, counts: np.ndarray, low: np.ndarray, options: Options, tail: float) -> np.ndarray:
    """The best upper end among the values [rows, points], ascending; `low` is the other end for each of them.

    `percentile` leaves at most the share `tail` above it. `mse` minimises the squared error: a twelfth of the squared
    step for every value, and the distance from the end for the values above it.
    """
    total = counts.sum(1, keepdims=True)
    above = _sum_above(counts)
    if options.ranges == "percentile":
        best = (above <= tail * total).argmax(1)
    else:
        clipped = _sum_above(counts * values**2) - 2 * values * _sum_above(counts * values) + values**2 * above
        error = total * ((values - low) / STEPS) ** 2 / 12 + clipped
        # Below `low` there is no range.
        best = np.where(values > low, error, np.inf).argmin(1)
    return np.take_along_axis(values, best[:, None], 1)[:, 0]


def _sum_above(values: np.ndarray) -> np.ndarray:
    """For each point the sum over the points after it."""
    return np.asarray(values[:, ::-1].cumsum(1)[:, ::-1] - values)
