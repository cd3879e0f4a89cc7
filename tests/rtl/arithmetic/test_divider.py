import pytest

from hwgen.rtl.arithmetic.divider import Divider, SerialDivider
from sim.unit import run_unit


@pytest.mark.parametrize(
    ("unit", "numerator", "quotient_bits", "den_bits"),
    [(Divider, 24, 17, 16), (Divider, 20, 12, 10), (SerialDivider, 40, 25, 24)],
)
def test_divider(unit, numerator, quotient_bits, den_bits):
    component = unit(numerator=numerator, quotient_bits=quotient_bits, den_bits=den_bits)
    parameters = {
        "serial": unit is SerialDivider,
        "latency": component.latency,
        "numerator": numerator,
        "quotient_bits": quotient_bits,
        "den_bits": den_bits,
    }
    run_unit(component, bench="tests.rtl.arithmetic.bench_divider", parameters=parameters)
