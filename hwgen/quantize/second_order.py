"""Rounding of weights that makes up for what was rounded before (GPTQ, Frantar et al., 2023).

Weights are rounded input by input; the error of each is spread over the inputs still to come, as far as they move
together: what is minimised is the error of the outputs over the calibration, not that of the weights. The mean of the
inputs stays out of it: the bias takes that (`hwgen.quantize.convert`).
"""

from __future__ import annotations

import numpy as np

__all__ = ["fit_scales", "round_second_order"]

#: Added to each input's variance, as a share of their mean: for inputs that hardly move, and images not seen. It grows
#: where a covariance is known from few rows, as of an expert that calibration rarely chose.
DAMPING = 0.05
#: Candidates for the scale of four-bit weights: the largest magnitude times these is the largest code.
SHARES = np.linspace(0.5, 1, 11)
#: Inputs rounded before their errors reach all others: keeps the products large.
BLOCK = 64


def fit_scales(
    weight: np.ndarray, smallest: np.ndarray, covariance: np.ndarray, rows: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes [out, in] and steps [out], at least `smallest` [out], for few bits: of `SHARES` the one that leaves an
    output with the smallest error once its weights are rounded. A channel of zeros has step 1."""
    largest = np.abs(weight).max(1)
    best, codes, scale = np.full(len(weight), np.inf), np.zeros_like(weight), np.ones(len(weight))
    for share in SHARES:
        tried = np.maximum(share * largest / limit, smallest)
        tried = np.where(tried > 0, tried, 1)
        found = round_second_order(weight, tried, covariance, rows, limit)
        error = found * tried[:, None] - weight
        noise = np.einsum("oi,ij,oj->o", error, covariance, error)
        better = noise < best
        best, scale = np.where(better, noise, best), np.where(better, tried, scale)
        codes = np.where(better[:, None], found, codes)
    return codes, scale


def round_second_order(
    weight: np.ndarray, scale: np.ndarray, covariance: np.ndarray, rows: int, limit: int
) -> np.ndarray:
    """Codes [out, in] in -limit..limit of weights [out, in] with steps `scale` [out], for inputs of this covariance
    [in, in], seen in so many rows. The inputs that move most are rounded first."""
    inputs = weight.shape[1]
    damping = DAMPING * (1 + inputs / rows) * float(np.diag(covariance).mean())
    damped = covariance + np.eye(inputs) * max(damping, 1e-30)
    order = np.argsort(-np.diag(damped), kind="stable")
    # The inverse's upper Cholesky factor: its row j says what input j's error is worth in the inputs behind it.
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left = weight[:, order].astype(np.float64)
    codes = np.zeros_like(left)
    for begin in range(0, inputs, BLOCK):
        end = min(begin + BLOCK, inputs)
        errors = np.zeros((len(left), end - begin))
        for column in range(begin, end):
            codes[:, column] = np.clip(np.rint(left[:, column] / scale), -limit, limit)
            error = (left[:, column] - codes[:, column] * scale) / factor[column, column]
            left[:, column + 1 : end] -= np.outer(error, factor[column, column + 1 : end])
            errors[:, column - begin] = error
        left[:, end:] -= errors @ factor[begin:end, end:]
    found = np.empty_like(codes)
    found[:, order] = codes
    return found
