"""Hardware parameters: what is derived, and what is refused."""

import pytest

from hwgen.common.errors import HwgenError
from hwgen.machine.isa import OPTIONAL
from hwgen.machine.params import FEATURES, HwParams


def test_derived():
    p = HwParams(t=4, c=8, k=16, max_tokens=50)
    assert (p.word, p.ring_bytes, p.param_words, p.row_bits, p.macs) == (16, 128, 1, 6, 512)
    assert HwParams(k=1).param_words == 8
    assert HwParams(max_tokens=64).row_bits == 7  # 64 itself must fit: it is the row after the last
    assert HwParams(**p.as_dict()) == p


def test_features_that_are_not_there_change_nothing():
    """Nor the hash of the parameters, which is in the Verilog."""
    p = HwParams(rms_norm=True)
    assert p.as_dict() == HwParams().as_dict() | {"rms_norm": True} and "rms_norm" not in HwParams().as_dict()
    assert HwParams(**p.as_dict()) == p
    assert set(OPTIONAL.values()) == set(FEATURES)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("t", 3, "a power of two from 2 to 64"),
        ("t", 1, "a power of two from 2 to 64"),
        ("c", 128, "a power of two from 2 to 64"),
        ("k", 0, "a power of two from 1 to 32"),
        ("weight_bus", 96, "a power of two from 64 to 512"),
        ("data_bus", 32, "a power of two from 64 to 512"),
        ("weight_ports", 3, "1, 2 or 4"),
        ("weight_ports", 8, "1, 2 or 4"),
        ("x_depth", 0, "an integer from 1 to 65536"),
        ("max_tokens", 5000, "an integer from 1 to 4096"),
        ("max_experts", 1, "an integer from 2 to 256"),
        ("weight_depth", 2.5, "an integer from 1 to 1048576"),
    ],
)
def test_refused(name, value, expected):
    with pytest.raises(HwgenError) as error:
        HwParams(**{name: value})
    assert error.value.text() == f"array parameters: {name}\n  expected: {expected}\n  found:    {value!r}"


def test_weight_ports():
    """The bus stays what it is; each port has its share of it."""
    p = HwParams(weight_bus=256, weight_ports=2)
    assert (p.weight_bus, p.port_bits, p.weight_align) == (256, 128, 128)
    assert (HwParams().port_bits, HwParams().weight_align) == (256, 64)
    with pytest.raises(HwgenError) as error:
        HwParams(weight_bus=64, weight_ports=4)
    assert error.value.expected == "ports of at least 32 bits"
    assert error.value.found == "64 bits over 4 ports"
