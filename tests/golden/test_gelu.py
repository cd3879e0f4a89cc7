"""GELU: every code at many scales against Python integers."""

import numpy as np
import pytest

from golden.gelu import Gelu, gelu_steps
from tests.golden import scalar


def test_steps() -> None:
    h = np.array([-100000, -513, -512, -256, -255, -48, -1, 0, 1, 48, 255, 256, 511, 512, 100000])
    assert gelu_steps(h).tolist() == [0, 0, 0, 0, 0, -44, -2, 0, 2, 148, 1020, 1024, 2044, 2044, 2044]


@pytest.mark.parametrize(
    ("mult", "shift", "zero"),
    [(65535, 0, 0), (65535, 31, 255), (32768, 17, 21), (48899, 17, 17), (0, 0, 9), (1, 1, 128), (65535, 16, 44)],
)
def test_every_code(mult: int, shift: int, zero: int) -> None:
    h = np.arange(-520, 520)
    got = Gelu(mult=mult, shift=shift, zero=zero)(h)
    assert got.dtype == np.uint8
    assert got.tolist() == [scalar.gelu(v, mult, shift, zero) for v in h.tolist()]
