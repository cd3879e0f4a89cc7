"""The literal tables against 60-digit arithmetic."""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import get_args

import pytest

from hwgen.machine import tables
from hwgen.network.description.structure import Activation

DIGITS = 60


def nearest(value: Decimal) -> int:
    """The nearest integer. What is not a tie, where the even one is meant, is far from one."""
    fraction = value - value.to_integral_value(ROUND_HALF_EVEN)
    assert abs(abs(fraction) - Decimal("0.5")) > Decimal("1e-9") or abs(fraction) == Decimal("0.5")
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def pi() -> Decimal:
    """Machin's formula."""

    def arctan_inverse(n: int) -> Decimal:
        total, power, k = Decimal(0), Decimal(1) / n, 0
        while abs(power) > Decimal(10) ** -(DIGITS + 5):
            total += power / (2 * k + 1) * (-1) ** k
            power /= n * n
            k += 1
        return total

    return 4 * (4 * arctan_inverse(5) - arctan_inverse(239))


def erfc(x: Decimal) -> Decimal:
    """1 - erf by its Taylor series, whose terms stay below 10^14 for x <= 8/sqrt(2)."""
    total, term, n = Decimal(0), x, 0
    while abs(term) > Decimal(10) ** -(DIGITS + 5):
        total += term / (2 * n + 1)
        n += 1
        term *= -x * x / n
    return 1 - 2 * total / pi().sqrt()


def test_exp() -> None:
    with localcontext(prec=DIGITS):
        assert tables.EXP == tuple(nearest(32 * 255 * Decimal(2) ** (-Decimal(i) / 32)) for i in range(32))


def sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def tanh_form(x: Decimal) -> Decimal:
    """(1 + tanh z)/2 = σ(2z)."""
    return sigmoid(2 * (2 / pi()).sqrt() * (x + Decimal("0.044715") * x**3))


#: s(-x) = 1 - s(x) of each activation x·s(x), for x >= 0.
MISSING: dict[str, Callable[[Decimal], Decimal]] = {
    "gelu": lambda x: erfc(x / Decimal(2).sqrt()) / 2,
    "gelu_tanh": lambda x: tanh_form(-x),
    "quick_gelu": lambda x: sigmoid(-Decimal("1.702") * x),
    "silu": lambda x: sigmoid(-x),
    "hardswish": lambda x: max(3 - x, Decimal(0)) / 6,  # a polynomial, which has ties
    "relu": lambda x: Decimal(0),
}


@pytest.mark.parametrize("kind", tables.ACTIVATIONS)
def test_activation(kind: str) -> None:
    """relu(x) - x·s(x) = x·s(-x) for x >= 0; the same for -x."""
    with localcontext(prec=DIGITS + 20):
        x = [Decimal(i) / 128 for i in range(tables.ACTIVATION_ENTRIES)]
        assert tables.ACTIVATIONS[kind] == tuple(nearest(512 * v * MISSING[kind](v)) for v in x)


def test_every_activation_is_named() -> None:
    assert set(tables.ACTIVATIONS) == set(get_args(Activation)) == set(MISSING)


def test_what_is_missing_is_even() -> None:
    """The same formulas from the other side: s(x) = 1 - s(-x), of those that hold for all x."""
    with localcontext(prec=DIGITS):
        for kind in ("gelu", "gelu_tanh", "quick_gelu", "silu"):
            for x in (Decimal(1) / 64, Decimal("1.5"), Decimal(4)):
                assert abs(MISSING[kind](x) + MISSING[kind](-x) - 1) < Decimal("1e-40")


def test_rsqrt() -> None:
    with localcontext(prec=DIGITS):
        want = [min(65535, nearest(65536 / ((i + Decimal("0.5")) / 16).sqrt())) for i in range(16, 64)]
    assert tables.RSQRT == (0,) * 16 + tuple(want)


def test_gate_exp() -> None:
    with localcontext(prec=DIGITS):
        assert tables.GATE_EXP == tuple(nearest(65535 * Decimal(2) ** (-Decimal(i) / 256)) for i in range(256))


def test_types() -> None:
    """Entries fit the types in which a description stores them."""
    assert all(len(table) == 1024 and all(0 <= v < 256 for v in table) for table in tables.ACTIVATIONS.values())
    assert all(0 <= v < 65536 for v in tables.RSQRT + tables.GATE_EXP)
    assert all(0 <= v and v + 31 < 1 << 13 for v in tables.EXP), "with the dither, thirteen bits"
