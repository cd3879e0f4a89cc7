"""A tensor's figures, counted by hand."""

import numpy as np
import pytest

from hwgen.evaluate.report.tensors import Tensor
from hwgen.quantize.steps import Grid


def test_tensor_of_known_values() -> None:
    """Codes of two channels, one with steps of 2 around 10; clipped is what lies beyond a code's half step."""
    tensor = Tensor(Grid(step=np.array([1.0, 2.0]), centre=np.array([0.0, 10.0])))
    tensor.see(np.array([[127.4, -247.2], [0, 10], [-3, 30]]), np.array([[127, -128], [0, 0], [-3, 10]], np.int8))
    tensor.see(np.array([[[127.6, 265.2]], [[-128.6, 20]]]), np.array([[[127, 127]], [[-128, 5]]], np.int8))
    row = tensor.as_dict()
    assert row["clipped_share"] == 4 / 10
    assert (row["float_range"], row["code_range"]) == ([-247.2, 265.2], [-128, 127])
    noise = 0.4**2 + 1.2**2 + 0.6**2 + 1.2**2 + 0.6**2
    signal = sum(value**2 for value in (127.4, 247.2, 10, 3, 30, 127.6, 265.2, 128.6, 20))
    assert row["sqnr_db"] == pytest.approx(10 * np.log10(signal / noise))
    assert row["largest_channel_ratio"] == pytest.approx(265.2 / np.mean([128.6, 265.2])) and not row["outliers"]
