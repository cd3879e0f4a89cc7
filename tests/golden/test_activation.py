"""Activations: every code of every kind at many scales against Python integers."""

import numpy as np
import pytest

from golden.activation import Activation, activation_steps
from hwgen.machine.tables import ACTIVATIONS
from tests.golden import scalar


def test_steps() -> None:
    h = np.array([-100000, -4097, -4096, -1024, -1023, -96, -1, 0, 1, 96, 1023, 1024, 4095, 4096, 100000])
    high = [4096, 16380, 16380, 16380]
    assert activation_steps(h, "gelu").tolist() == [0, 0, 0, 0, 0, -87, -2, 0, 2, 297, 4092, *high]
    assert activation_steps(h, "silu").tolist() == [0, 0, 0, 0, -1, -123, -2, 0, 2, 261, 4091, *high]
    assert activation_steps(h, "relu").tolist() == [0] * 8 + [4, 384, 4092, *high]


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize(("mult", "shift", "zero"), [(65535, 18, 0), (40001, 13, -255), (1, 0, 3), (65535, 31, 1)])
def test_gated(kind: str, mult: int, shift: int, zero: int) -> None:
    """Times what gates, whose product with the multiplier is cut towards minus infinity."""
    h = np.concatenate([np.arange(-4108, 4108, 7), [-2, -1, 0, 1, 2]])
    up = np.array([-255, -254, -129, -128, -3, -1, 0, 1, 2, 127, 128, 255], np.int16)
    got = Activation(kind=kind, mult=mult, shift=shift, zero=zero).gated(h[:, None], up)
    want = [[scalar.gate(kind, v, u, mult, shift, zero) for u in up.tolist()] for v in h.tolist()]
    assert got.dtype == np.int16 and got.tolist() == want


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize(
    ("mult", "shift", "zero"),
    [(65535, 0, 0), (65535, 31, 255), (32768, 17, -234), (48899, 17, 17), (0, 0, -255), (1, 1, 128), (65535, 16, -211)],
)
def test_every_code(kind: str, mult: int, shift: int, zero: int) -> None:
    h = np.arange(-4108, 4108)
    for window in range(4):
        got = Activation(kind=kind, mult=mult, shift=shift, zero=zero)(h, window)
        assert got.dtype == np.int16
        assert got.tolist() == [scalar.activation(kind, v, mult, shift, zero - 510 * window) for v in h.tolist()]
