"""Accuracy: at most one output LSB against the exact function of the quantized input."""

import math
from fractions import Fraction

import numpy as np
import pytest

from golden import errors, reference
from golden.moe import GATES


def test_gelu_within_one_lsb() -> None:
    for error in errors.gelu_errors():
        assert error.largest <= 1, error


@pytest.mark.parametrize("d", errors.WIDTHS)
def test_layernorm_within_one_lsb(d: int) -> None:
    for error in errors.layernorm_errors(d):
        assert error.largest <= 1, error


def test_layernorm_bound_over_all_rows() -> None:
    """Not only the rows tried: error of the root, rounding of xhat, rounding of the output.

    An output that does not saturate has |xhat·gamma| <= 256 LSB as long as beta is within the output's range.
    """
    steepest = 1.5 * max(errors.GAINS)
    assert 256 * errors.rsqrt_error() + 0.5 * steepest / 1024 + 0.5 <= 1


def test_softmax_within_one_lsb() -> None:
    for error in errors.softmax_errors():
        assert error.largest <= 1, error


def test_gate_relative_error() -> None:
    """The 8 fraction bits of u alone give 2^(1/512) - 1 = 0.14 %; 0.5 % is below an int8 step."""
    found = [relative for _, relative in errors.gate_errors()]
    assert max(found) < 0.005


@pytest.mark.parametrize("d", [16, 192])
def test_reference_layernorm_against_fractions(d: int) -> None:
    rng = np.random.default_rng(d)
    gamma, beta = rng.integers(-30000, 30000, d).astype(np.int16), rng.integers(-(1 << 24), 1 << 24, d).astype(np.int32)
    for x in errors.rows(d, rng).values():
        got = reference.layernorm(x[:1], gamma, beta, 18, 7)[0]
        row = x[0].tolist()
        variance = d * sum(v * v for v in row) - sum(row) ** 2 + 7
        root = Fraction(math.isqrt(variance << 200), 1 << 100)
        for c in range(d):
            xhat = 1024 * (d * row[c] - sum(row)) / root
            assert float(got[c]) == pytest.approx(float((xhat * int(gamma[c]) + int(beta[c])) / 2**18), abs=1e-9)


def test_reference_gelu_and_gate() -> None:
    x = np.array([-8.0, -1.0, 0.0, 1.0, 8.0])
    assert reference.gelu(x) == pytest.approx([-4.97677e-15, -0.15865525393, 0, 0.84134474607, 8], rel=1e-5)
    t = np.array([[0, 65536, -65536, 0]], np.int32)
    winners = np.array([[0, 1]], np.int32)
    want = {"softmax_topk": [1 / 4.5, 2 / 4.5], "topk_softmax": [1 / 3, 2 / 3]}
    for gate in GATES:
        assert reference.gate_weights(t, winners, gate)[0] == pytest.approx(want[gate])


def test_prints_every_operator(capsys: pytest.CaptureFixture[str]) -> None:
    errors.main()
    operators = {line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert operators == {"gelu", "layernorm", "rsqrt", "softmax", "gate"}
