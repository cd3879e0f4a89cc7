"""Range ends against what trying them all gives."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options
from hwgen.quantize.ranges import AUTO, SAMPLES, STEPS, bounds, channel_bounds, peak, peaks, round_up, rule

MINMAX, MSE = Options(ranges="minmax"), Options(ranges="mse")


def observed(values: np.ndarray, histogram: str = "channel") -> Observer:
    observer = Observer(values.shape[1], histogram)
    observer.see(values)
    return observer


def tailed(channels: int = 3, count: int = 20_000, seed: int = 0) -> np.ndarray:
    """Normal values with a few far outliers."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (count, channels)) * np.arange(1, channels + 1)
    values[rng.integers(0, count, 5), channels // 2] *= 6
    return values


def error(values: np.ndarray, low: float, high: float) -> float:
    """Mean square error of a row operand's codes over low..high."""
    step = (high - low) / STEPS
    return float(((np.clip(np.rint((values - low) / step), 0, STEPS) * step + low - values) ** 2).mean())


def test_minmax_is_the_extreme_rounded_outwards() -> None:
    values = tailed()
    extremes = np.abs(values).max(0)
    found = peaks(observed(values, "none"), MINMAX)
    assert (found >= extremes).all() and (found <= extremes * (1 + 2**-11)).all()
    assert peak(observed(values, "none"), MINMAX) == found.max()
    low, high = bounds(observed(values, "none"), MINMAX)
    assert low == pytest.approx(values.min(), rel=2**-11) and high == pytest.approx(values.max(), rel=2**-11)


def test_percentile_leaves_the_share_outside() -> None:
    values = tailed()
    options = Options(ranges="percentile", percentile=99)
    end = peak(observed(values), options)
    assert np.mean(np.abs(values) > end) == pytest.approx(0.01, rel=0.1)
    outside = np.abs(values) > peaks(observed(values), options)
    np.testing.assert_allclose(outside.mean(0), 0.01, rtol=0.2)
    low, high = bounds(observed(values, "tensor"), options)
    assert np.mean(values > high) == pytest.approx(0.005, rel=0.2)
    assert np.mean(values < low) == pytest.approx(0.005, rel=0.2)


def test_mse_finds_the_least_error() -> None:
    values = tailed()
    tried = np.linspace(0.1, 1, 200) * np.abs(values).max()
    best = min(error(values, -end, end) for end in tried)
    end = peak(observed(values), MSE)
    assert end < 0.95 * np.abs(values).max()
    assert error(values, -end, end) <= 1.02 * best
    for channel, end in enumerate(peaks(observed(values), MSE)):
        column = values[:, channel]
        assert error(column, -end, end) <= 1.03 * min(error(column, -t, t) for t in tried)


def test_mse_of_both_ends_shortens_the_tail_and_keeps_the_hard_end() -> None:
    """As GELU's outputs: most values near the low end, few far out."""
    values = np.random.default_rng(0).exponential(0.1, (500_000, 1)) - 0.17
    values[0] = 5
    low, high = bounds(observed(values, "tensor"), MSE)
    tried = np.linspace(0.5, 5, 60)
    assert high < 4.5
    assert error(values, low, high) <= 1.05 * min(error(values, values.min(), end) for end in tried)
    assert -0.2 < low < -0.1  # most values are near the low end


def test_offset_moves_the_values() -> None:
    values, offset = tailed(), np.array([2.0, -3.0, 0.5])
    for options in (MINMAX, MSE):
        np.testing.assert_allclose(
            peaks(observed(values), options, offset), peaks(observed(values - offset), options), rtol=0.02
        )
        assert peak(observed(values), options, offset) == pytest.approx(
            peak(observed(values - offset), options), rel=0.02
        )


def test_channel_bounds_are_around_the_middle() -> None:
    values = tailed() + np.array([5.0, 0, -5.0])
    low, high = channel_bounds(observed(values), MINMAX)
    np.testing.assert_allclose(low, values.min(0), rtol=1e-3)
    np.testing.assert_allclose(high, values.max(0), rtol=1e-3)


@pytest.mark.parametrize("options", [MINMAX, MSE], ids=["minmax", "mse"])
def test_few_samples_of_a_channel_get_room(options: Options) -> None:
    """A class token has one sample per image: 16 of them span a fraction of what others will."""
    values = np.random.default_rng(0).normal(3, 1, (SAMPLES, 8))
    low, high = channel_bounds(observed(values[:16]), options)
    outside = np.mean((values < low) | (values > high))
    assert outside < 0.004
    assert np.mean((values < values[:16].min(0)) | (values > values[:16].max(0))) > 0.05
    assert (peaks(observed(values[:16]), options, 3.0) > 2.9).all()


def test_a_tensor_of_zeros_has_a_range() -> None:
    for options in (MINMAX, MSE, Options(ranges="percentile")):
        seen = observed(np.zeros((4, 2)))
        assert peak(seen, options) > 0 and (peaks(seen, options) > 0).all()
        assert bounds(seen, options)[1] > 0
        low, high = channel_bounds(seen, options)
        assert (high > low).all()


def test_auto_goes_by_kind_and_other_methods_do_not() -> None:
    """What a rare large value loses behind the second LayerNorm and in the context counts more than the step."""
    for kind in ("norm1", "norm", "rescale", "q", "mean", *AUTO):
        chosen, room = rule(Options(ranges="auto"), kind)
        careful = kind in ("norm_pre", "post_norm", "norm2", "rescale2", "context", "v", "up", "hidden")
        assert chosen.ranges == ("minmax" if careful else "mse")
        assert room == {"norm2": 1.25, "rescale2": 1.25, "context": 1.25, "post_norm": 1.5}.get(kind, 1)
        assert rule(Options(ranges="percentile", percentile=99), kind) == (
            Options(ranges="percentile", percentile=99), 1
        )  # fmt: skip


def test_round_up_keeps_twelve_bits() -> None:
    value = np.array([1.0, 1.0001, 3000.3])
    found = round_up(value)
    assert found.tolist() == [1.0, 1.0 + 2**-11, 3001.0]
