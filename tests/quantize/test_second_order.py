"""Second-order rounding against the same in plain steps, and what it is for: smaller errors of the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.quantize.second_order import BLOCK, DAMPING, SHARES, fit_scales, round_second_order


def inputs(count: int, seed: int) -> np.ndarray:
    """Covariance of inputs that move together, by a few common factors, with different spreads."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(0, 1, (count, max(1, count // 4)))
    spread = np.exp(rng.normal(0, 0.7, count))
    return (mixed @ mixed.T + 0.3 * np.eye(count)) * np.outer(spread, spread)


ROWS = 1000


def stepwise(weight: np.ndarray, scale: float, covariance: np.ndarray, limit: int) -> np.ndarray:
    """One output: each input in turn, those to come first moved to where they make up best for the errors so far."""
    damped = covariance + np.eye(len(weight)) * DAMPING * (1 + len(weight) / ROWS) * np.diag(covariance).mean()
    order = np.argsort(-np.diag(damped), kind="stable")
    codes = np.zeros(len(weight))
    for place, column in enumerate(order):
        done, rest = order[:place], order[place:]
        error = codes[done] * scale - weight[done]
        moved = weight[rest] - np.linalg.solve(damped[np.ix_(rest, rest)], damped[np.ix_(rest, done)] @ error)
        codes[column] = np.clip(np.rint(moved[0] / scale), -limit, limit)
    return codes


@pytest.mark.parametrize("limit", [127, 7])
@pytest.mark.parametrize("count", [1, 5, BLOCK, 2 * BLOCK + 9])
def test_blocks_give_what_single_steps_give(count: int, limit: int) -> None:
    rng = np.random.default_rng(count)
    weight, covariance = rng.normal(0, 1, (3, count)), inputs(count, count)
    scale = np.abs(weight).max(1) / limit * np.array([1, 0.7, 2])  # the second clips
    found = round_second_order(weight, scale, covariance, ROWS, limit)
    assert found.tolist() == [stepwise(*row, covariance, limit).tolist() for row in zip(weight, scale, strict=True)]


def test_outputs_have_smaller_errors_than_by_the_nearest_codes() -> None:
    rng = np.random.default_rng(0)
    weight, covariance = rng.normal(0, 1, (20, 100)), inputs(100, 0)
    scale = np.abs(weight).max(1) / 127
    errors = [
        codes * scale[:, None] - weight
        for codes in (round_second_order(weight, scale, covariance, ROWS, 127), np.rint(weight / scale[:, None]))
    ]
    second, nearest = (np.einsum("oi,ij,oj->o", error, covariance, error) for error in errors)
    assert (second < 0.5 * nearest).all()
    assert (errors[0] ** 2).sum() > (errors[1] ** 2).sum(), "the weights' own are larger"


def test_inputs_that_move_alone_get_the_nearest_codes() -> None:
    rng = np.random.default_rng(1)
    weight, scale = rng.normal(0, 1, (4, 70)), np.full(4, 0.03)
    found = round_second_order(weight, scale, np.diag(rng.uniform(0, 3, 70)), ROWS, 127)
    assert np.array_equal(found, np.clip(np.rint(weight / 0.03), -127, 127))


def test_inputs_that_never_move() -> None:
    weight, scale = np.linspace(-1, 1, 12).reshape(2, 6), np.full(2, 1 / 127)
    assert np.array_equal(round_second_order(weight, scale, np.zeros((6, 6)), ROWS, 127), np.rint(weight * 127))


def test_few_rows_are_trusted_less() -> None:
    """A covariance of few rows is damped until the codes are the nearest ones."""
    rng = np.random.default_rng(2)
    weight, covariance = rng.normal(0, 1, (8, 40)), inputs(40, 2)
    scale = np.abs(weight).max(1) / 127
    nearest = np.rint(weight / scale[:, None])
    changed = [(round_second_order(weight, scale, covariance, rows, 127) != nearest).mean() for rows in (10**6, 5, 1)]
    assert changed[0] > changed[1] > changed[2]


def test_each_output_gets_the_scale_that_suits_its_codes() -> None:
    """Four bits: of all candidates the one with the smallest error after rounding; zeros and lower bounds stand."""
    rng = np.random.default_rng(3)
    weight, covariance = rng.normal(0, 1, (6, 30)), inputs(30, 3)
    weight[4] = 0
    smallest = np.array([0, 0, 0, 0, 0, 0.5])
    codes, scale = fit_scales(weight, smallest, covariance, ROWS, 7)
    largest = np.abs(weight).max(1)
    for row in range(4):
        steps = SHARES * largest[row] / 7
        errors = []
        for step in steps:
            one = round_second_order(weight[[row]], np.array([step]), covariance, ROWS, 7) * step - weight[row]
            errors.append((one @ covariance @ one.T).item())
        assert scale[row] == steps[int(np.argmin(errors))]
    assert not codes[4].any() and scale[4] == 1
    assert scale[5] >= 0.5 and np.abs(codes).max() <= 7
    assert len({round(scale[row] * 7 / largest[row], 3) for row in range(4)}) > 1, "not the same share everywhere"
