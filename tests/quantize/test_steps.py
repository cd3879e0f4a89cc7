"""Grids of the 8-bit tensors: every range is covered, and the operators around a tensor can take its factors."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.quantize.observers import Observer
from hwgen.quantize.options import Options
from hwgen.quantize.steps import COLUMN, ROW, Grid, post_norm, query_key, value_context

RNG = np.random.default_rng(2)
CHANNELS = 12
SPREAD = np.exp(RNG.normal(0, 1, CHANNELS))
WEIGHTS = [RNG.normal(0, 1, (5, CHANNELS)), RNG.normal(0, 1, (9, CHANNELS)) * np.exp(RNG.normal(0, 1, CHANNELS))]
METHODS = [{"repq": repq, "equalize": equalize} for repq in (False, True) for equalize in (False, True)]


def observed(spread: np.ndarray, offset: np.ndarray | float = 0) -> Observer:
    observer = Observer(CHANNELS)
    observer.see(RNG.normal(0, 1, (5000, CHANNELS)) * spread + offset)
    return observer


def used(grid: Grid, seen: Observer) -> np.ndarray:
    """The largest code of each channel."""
    return np.maximum((seen.high - grid.centre) / grid.step, (grid.centre - seen.low) / grid.step)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_post_norm_covers_its_channels(method: dict[str, bool]) -> None:
    seen = observed(SPREAD, RNG.normal(0, 3, CHANNELS))
    grid = post_norm(seen, WEIGHTS, Options(ranges="minmax", **method), "norm1")
    codes = used(grid, seen)
    assert codes.max() == pytest.approx(ROW, rel=1e-3)
    if method["repq"] and not method["equalize"]:
        assert codes.min() > 254.6  # every channel uses all codes
    elif not any(method.values()):
        assert np.ptp(grid.step) == 0 and not grid.centre.any()
    else:
        assert 0 < codes.min() < 240


def test_equalization_leaves_large_weights_fine_steps() -> None:
    seen = observed(np.ones(CHANNELS))
    large = WEIGHTS[1] * np.where(np.arange(CHANNELS) == 4, 50, 1)
    steps = [
        post_norm(seen, [weight], Options(ranges="minmax", repq=False, equalize=True), "norm1").step
        for weight in (WEIGHTS[1], large)
    ]
    assert steps[1][4] / steps[1][0] < 0.2 * steps[0][4] / steps[0][0]


@pytest.mark.parametrize("kind", ["norm1", "norm2"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_post_norm_leaves_room_by_kind(method: dict[str, bool], kind: str) -> None:
    """With `ranges: auto` behind the second LayerNorm: a quarter more than calibration reached."""
    seen = Observer(CHANNELS, "channel")
    seen.see(np.random.default_rng(1).uniform(-1, 1, (5000, CHANNELS)) * SPREAD)  # nothing to clip
    codes = used(post_norm(seen, WEIGHTS, Options(**method), kind), seen)
    assert codes.max() == pytest.approx(ROW / (1.25 if kind == "norm2" else 1), rel=0.01)


@pytest.mark.parametrize("equalize", [False, True])
def test_query_and_key_share_one_factor(equalize: bool) -> None:
    seen = observed(SPREAD), observed(SPREAD[::-1], 4.0)
    q, k = query_key(*seen, np.full(CHANNELS, 4.0), Options(ranges="minmax", equalize=equalize))
    product = q.step * k.step
    np.testing.assert_allclose(product, product[0])
    assert not q.centre.any() and (k.centre == 4).all()
    for grid, tensor, top in zip((q, k), seen, (ROW, COLUMN), strict=True):
        assert top * (0.7 if equalize else 0.99) < used(grid, tensor).max() < top + 0.02
    plain = query_key(*seen, np.full(CHANNELS, 4.0), Options(ranges="minmax", equalize=False))
    assert (product[0] < 0.9 * plain[0].step[0] * plain[1].step[0]) == equalize


@pytest.mark.parametrize("equalize", [False, True])
def test_value_and_context_share_one_ratio(equalize: bool) -> None:
    offset = RNG.normal(0, 3, CHANNELS)
    seen = observed(SPREAD, offset), observed(0.3 * SPREAD, offset)
    v, context = value_context(*seen, Options(ranges="minmax", equalize=equalize))
    np.testing.assert_allclose(v.step / context.step, v.step[0] / context.step[0])
    np.testing.assert_array_equal(v.centre, context.centre)
    assert v.centre.any() == equalize
    for grid, tensor, top in zip((v, context), seen, (COLUMN, ROW), strict=True):
        assert top * 0.99 < used(grid, tensor).max() < top + 0.02
    assert (v.step.mean() < 0.5 * value_context(*seen, Options(ranges="minmax", equalize=False))[0].step[0]) == equalize
