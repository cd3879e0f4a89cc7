"""The literal tables against 60-digit arithmetic."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from hwgen.machine import tables

DIGITS = 60


def nearest(value: Decimal) -> int:
    """The nearest integer; a value near a tie would make the rounding mode matter, and there is none."""
    fraction = value - value.to_integral_value(ROUND_HALF_EVEN)
    assert abs(abs(fraction) - Decimal("0.5")) > Decimal("1e-9") or value == 0
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
    """1 - erf by its Taylor series, whose terms stay below 10^4 for x <= 4/sqrt(2)."""
    total, term, n = Decimal(0), x, 0
    while abs(term) > Decimal(10) ** -(DIGITS + 5):
        total += term / (2 * n + 1)
        n += 1
        term *= -x * x / n
    return 1 - 2 * total / pi().sqrt()


def test_exp() -> None:
    with localcontext(prec=DIGITS):
        assert tables.EXP == tuple(nearest(255 * Decimal(2) ** (-Decimal(i) / 32)) for i in range(32))


def test_gelu() -> None:
    """relu(x) - x·Φ(x) = x/2·erfc(x/√2) for x >= 0."""
    with localcontext(prec=DIGITS + 20):
        x = [Decimal(i) / 64 for i in range(256)]
        assert tables.GELU == tuple(nearest(128 * v * erfc(v / Decimal(2).sqrt())) for v in x)


def test_rsqrt() -> None:
    with localcontext(prec=DIGITS):
        want = [min(65535, nearest(65536 / ((i + Decimal("0.5")) / 16).sqrt())) for i in range(16, 64)]
    assert tables.RSQRT == (0,) * 16 + tuple(want)


def test_gate_exp() -> None:
    with localcontext(prec=DIGITS):
        assert tables.GATE_EXP == tuple(nearest(65535 * Decimal(2) ** (-Decimal(i) / 256)) for i in range(256))


def test_types() -> None:
    """Entries fit the types in which a description stores them."""
    assert all(0 <= v < 256 for v in tables.EXP + tables.GELU)
    assert all(0 <= v < 65536 for v in tables.RSQRT + tables.GATE_EXP)
