"""Multipliers and shifts of real ratios."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.quantize.fixed import multiplier


def test_multiplier_is_normalised_and_close() -> None:
    exponents = np.concatenate([np.linspace(-31.9, 15.9, 4001), np.arange(-32.0, 16.0)])
    ratios = np.append(np.exp2(exponents), 65535.9 / 65536)
    mult, shift = multiplier(ratios)
    assert mult.min() >= 1 << 15
    np.testing.assert_allclose(np.ldexp(mult.astype(float), -shift.astype(int)), ratios, rtol=2**-16)


@pytest.mark.parametrize(
    ("ratio", "max_shift", "expected"),
    [
        (0.0, 47, (0, 16)),
        (1.0, 47, (32768, 15)),
        (65535.9, 47, (65535, 0)),
        (1e9, 47, (65535, 0)),
        (2.0**-20, 31, (2048, 31)),
        (2.0**-60, 47, (0, 47)),
    ],
)
def test_multiplier_at_the_ends(ratio: float, max_shift: int, expected: tuple[int, int]) -> None:
    mult, shift = multiplier(ratio, max_shift)
    assert (int(mult[0]), int(shift[0])) == expected
