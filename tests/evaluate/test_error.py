"""Errors of outputs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.evaluate.error import relative_rms, sqnr_db


def test_errors() -> None:
    wanted = np.array([3.0, 4.0, 0.0, 5.0])
    found = wanted + [0, 0.5, 0, 0.5]
    assert relative_rms(found, wanted) == pytest.approx(0.1)
    assert sqnr_db(found, wanted) == pytest.approx(20)
    assert sqnr_db(wanted, wanted) == np.inf
