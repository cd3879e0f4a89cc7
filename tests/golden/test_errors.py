"""Accuracy: at most one output LSB against the exact function of the quantized input."""

import math
from fractions import Fraction

import numpy as np
import pytest

from golden import errors, reference
from golden.activation import G_STEPS, H_MAX, H_MIN, H_STEPS, REACH, activation_steps
from golden.moe import GATES
from hwgen.machine.tables import ACTIVATIONS


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_within_one_lsb(kind: str) -> None:
    for error in errors.activation_errors(kind):
        assert error.largest <= 1, error


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gated_within_one_lsb(kind: str) -> None:
    found = list(errors.gated_errors(kind))
    assert all(error.largest <= 1 for error in found), max(found, key=lambda error: error.largest)


def test_reference_knows_every_activation() -> None:
    assert list(reference.ACTIVATIONS) == list(ACTIVATIONS)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_bound_over_all_scales(kind: str) -> None:
    """Not only the scales tried, as long as M/2^S <= 1/2: an entry's rounding a quarter, the output's half an LSB.

    Beyond the table g misses up to 1.37 (SiLU at 8). Left of it g is 0, which no multiplier rounds. Right of it an
    output that does not saturate has 4096·M/2^S <= 510.
    """
    h = np.arange(H_MIN, H_MAX + 1)
    missing = np.abs(activation_steps(h, kind) - G_STEPS * reference.ACTIVATIONS[kind](h / H_STEPS))
    assert missing[np.abs(h) < REACH].max() <= 0.5
    assert missing[h <= -REACH].max() / 2 <= 1 and not activation_steps(h, kind)[h <= -REACH].any()
    assert missing[h >= REACH].max() * 510 / 4096 + 0.5 <= 1


@pytest.mark.parametrize("d", errors.WIDTHS)
@pytest.mark.parametrize("norm", errors.NORMS)
def test_norms_within_one_lsb(norm: str, d: int) -> None:
    for error in errors.norm_errors(d, errors.NORMS[norm]):
        assert error.largest <= 1, error


def test_layernorm_bound_over_all_rows() -> None:
    """Not only the rows tried: error of the root, rounding of xhat, rounding of the output.

    An output that does not saturate has |xhat·gamma| <= 510 LSB as long as beta is within the output's range.
    """
    steepest = 1.5 * max(errors.GAINS)
    assert 510 * errors.rsqrt_error() + 0.5 * steepest / 1024 + 0.5 <= 1


def test_softmax_below_one_lsb() -> None:
    """The dither takes up to all of it: 31/32 and what the shift cuts off."""
    for error in errors.softmax_errors():
        assert 0.95 < error.largest < 1, error


def test_sums_of_softmax() -> None:
    """Rounding to the nearest would lose most of what many small probabilities add up to: up to 14 %."""
    for error, relative in errors.sum_errors():
        assert relative < 0.05, error


def test_gate_relative_error() -> None:
    """The 8 fraction bits of u alone give 2^(1/512) - 1 = 0.14 %; 0.5 % is below an int8 step."""
    found = [relative for _, relative in errors.gate_errors()]
    assert max(found) < 0.005


@pytest.mark.parametrize("d", [16, 192])
@pytest.mark.parametrize("norm", errors.NORMS)
def test_reference_norms_against_fractions(norm: str, d: int) -> None:
    rng = np.random.default_rng(d)
    gamma, beta = rng.integers(-30000, 30000, d).astype(np.int16), rng.integers(-(1 << 24), 1 << 24, d).astype(np.int32)
    for x in errors.rows(d, rng).values():
        rms = errors.NORMS[norm]
        got = reference.layernorm(x[:1], gamma, beta, 18, 7, rms)[0]
        row = x[0].tolist()
        total = 0 if rms else sum(row)
        variance = d * sum(v * v for v in row) - total**2 + 7
        root = Fraction(math.isqrt(variance << 200), 1 << 100)
        for c in range(d):
            xhat = 1024 * (d * row[c] - total) / root
            assert float(got[c]) == pytest.approx(float((xhat * int(gamma[c]) + int(beta[c])) / 2**18), abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "at_two"),
    [
        ("gelu", 1.9544997361),
        ("gelu_tanh", 1.9545976940),
        ("quick_gelu", 1.9356586231),
        ("silu", 1.7615941560),
        ("hardswish", 5 / 3),
        ("relu", 2),
    ],
)
def test_reference_activations_at_two(kind: str, at_two: float) -> None:
    """x·s(x) with s(x) + s(-x) = 1: f(2) - f(-2) = 2, and where the function ends."""
    function = reference.ACTIVATIONS[kind]
    assert function(np.array([2.0, -2.0, 0.0, 32.0])) == pytest.approx([at_two, at_two - 2, 0, 32], abs=1e-9)


def test_reference_gate() -> None:
    t = np.array([[0, 65536, -65536, 0]], np.int32)
    winners = np.array([[0, 1]], np.int32)
    want = {"softmax_topk": [1 / 4.5, 2 / 4.5], "topk_softmax": [1 / 3, 2 / 3]}
    for gate in GATES:
        assert reference.gate_weights(t, winners, gate)[0] == pytest.approx(want[gate])


def test_prints_every_operator(capsys: pytest.CaptureFixture[str]) -> None:
    errors.main()
    operators = {line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert operators == {*ACTIVATIONS, *errors.NORMS, "rsqrt", "softmax", "gate"}
