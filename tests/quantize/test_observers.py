"""Statistics of calibration against NumPy over all values at once."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.quantize.observers import BINS, Histogram, Observer, significant


@pytest.mark.parametrize("histogram", ["none", "tensor", "channel"])
def test_parts_give_what_the_whole_gives(histogram: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (7, 30, 5)) * np.exp(rng.normal(0, 2, (7, 1, 5))) + rng.normal(0, 3, 5)
    observer = Observer(5, histogram)
    for part in values:
        observer.see(part)
    rows = values.reshape(-1, 5)
    assert observer.count == 210
    np.testing.assert_array_equal(observer.low, rows.min(0))
    np.testing.assert_array_equal(observer.high, rows.max(0))
    np.testing.assert_allclose(observer.mean(), rows.mean(0), rtol=2**-15)
    np.testing.assert_allclose(observer.variance(), rows.var(0), rtol=2**-15)
    if histogram == "none":
        assert observer.histogram is None
        return
    assert observer.histogram is not None
    wanted = rows.reshape(-1, 1) if histogram == "tensor" else rows
    assert observer.histogram.counts.sum(1).tolist() == [len(wanted)] * wanted.shape[1]
    for column, values_, counts, limit in zip(
        wanted.T, observer.histogram.centres(), observer.histogram.counts, observer.histogram.limit, strict=True
    ):
        # Whatever the order and the growth of the limits, the counts are those of the last bins.
        edges = np.linspace(-limit, limit, BINS + 1)
        np.testing.assert_array_equal(counts, np.histogram(column, edges)[0])
        np.testing.assert_allclose(values_, (edges[1:] + edges[:-1]) / 2)


def test_limits_are_powers_of_two_above_the_peak() -> None:
    histogram = Histogram(3)
    values = np.array([[0.0, 1.0, -3.0]])
    histogram.add(values, np.abs(values[0]))
    histogram.add(values * 5, 5 * np.abs(values[0]))
    assert histogram.limit.tolist() == [2.0**-29, 8.0, 16.0]
    assert histogram.counts.sum() == 6


def test_significant_bits() -> None:
    found = significant(np.array([0.0, 1.0, 1.03, -1.03, 1000.0]), 5)
    assert found.tolist() == [0.0, 1.0, 1.0, -1.0, 992.0]
