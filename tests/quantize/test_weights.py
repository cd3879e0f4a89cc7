"""Rounding of weights."""

from __future__ import annotations

import numpy as np

from hwgen.quantize.weights import given_codes, round_weights

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0, 1, (40, 64)) * np.exp(RNG.normal(0, 1, (40, 1)))
NOTHING, EVEN = np.zeros(40), np.ones(64)


def squares(codes: np.ndarray, scale: np.ndarray, importance: np.ndarray) -> np.ndarray:
    return ((codes * scale[:, None] - WEIGHT) ** 2) @ importance


def test_eight_bits_cover_the_largest_weight() -> None:
    codes, scale = round_weights(WEIGHT, 8, NOTHING, EVEN)
    assert (np.abs(codes).max(1) == 127).all()
    assert (np.abs(codes * scale[:, None] - WEIGHT).max(1) <= 0.5001 * scale).all()


def test_four_bits_weigh_rounding_against_saturation() -> None:
    codes, scale = round_weights(WEIGHT, 4, NOTHING, EVEN)
    assert np.abs(codes).max() == 7 and (codes == np.rint(codes)).all()
    plain = np.abs(WEIGHT).max(1) / 7
    rounded = np.rint(WEIGHT / plain[:, None])
    assert (squares(codes, scale, EVEN) <= squares(rounded, plain, EVEN)).all()
    assert squares(codes, scale, EVEN).sum() < 0.9 * squares(rounded, plain, EVEN).sum()


def test_important_inputs_decide_four_bits() -> None:
    importance = np.where(np.arange(64) < 4, 1000.0, 1.0)
    for_them = squares(*round_weights(WEIGHT, 4, NOTHING, importance), importance)
    for_all = squares(*round_weights(WEIGHT, 4, NOTHING, EVEN), importance)
    assert for_them.sum() < 0.8 * for_all.sum()


def test_scales_keep_to_the_smallest_and_zeros_to_zero() -> None:
    weight = WEIGHT.copy()
    weight[3] = 0
    smallest = np.where(np.arange(40) == 5, 9.0, 0.0)
    for bits in (8, 4):
        codes, scale = round_weights(weight, bits, smallest, EVEN)
        assert scale[5] == 9 and scale[3] == 0 and not codes[3].any()


def test_inputs_that_never_move_leave_a_sensible_scale() -> None:
    codes, scale = round_weights(WEIGHT, 4, NOTHING, np.zeros(64))
    np.testing.assert_array_equal(scale, round_weights(WEIGHT, 4, NOTHING, EVEN)[1])
    assert np.abs(codes).max() == 7


def test_given_codes() -> None:
    """A bias may need a larger scale: then only a channel of zeros can have it."""
    codes, scale = RNG.integers(-7, 8, (40, 64)), np.exp(RNG.normal(0, 1, 40))
    codes[5] = 0
    smallest = np.where(np.arange(40) == 5, 100.0, scale / 2)
    found = given_codes(codes * scale[:, None], scale, smallest)
    assert found is not None
    np.testing.assert_array_equal(found[0], codes)
    np.testing.assert_array_equal(found[1], np.where(np.arange(40) == 5, 100.0, scale))
    smallest[6] = 2 * scale[6]
    assert given_codes(codes * scale[:, None], scale, smallest) is None
