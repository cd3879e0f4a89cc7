"""Names of activations. tests/importers/test_beside.py has networks with each."""

from __future__ import annotations

import pytest

from hwgen.common.errors import HwgenError
from hwgen.importers.activation import SUPPORTED, canonical, check_activation


def test_names_of_activations() -> None:
    for names, wanted in (
        ("gelu GELU gelu_python", "gelu"), ("gelu_new gelu_pytorch_tanh GELUTanh gelu-tanh", "gelu_tanh"),
        ("quick_gelu QuickGELU", "quick_gelu"), ("silu swish SiLU", "silu"), ("ReLU", "relu"), ("mish", "mish"),
    ):  # fmt: skip
        assert {canonical(name) for name in names.split()} == {wanted}


def test_supported_ones() -> None:
    assert [check_activation(name, "FILE") for name in SUPPORTED] == list(SUPPORTED)
    assert check_activation("GELU", "FILE") == "gelu"
    with pytest.raises(HwgenError) as caught:
        check_activation("mish", "FILE", "take another")
    assert caught.value.text() == (
        f"FILE: activation\n  expected: {' or '.join(SUPPORTED)}\n  found:    'mish'\n  mend:     take another"
    )
