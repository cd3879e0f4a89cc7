"""The dense MLP against Python integers, including the residual's saturation."""

import numpy as np
import pytest

from golden.mlp import Mlp
from tests.golden import scalar


@pytest.mark.parametrize("fc2_shift", [10, 25, 47])
def test_dense(fc2_shift: int) -> None:
    rng = np.random.default_rng(fc2_shift)
    dim, width = 12, 30
    tensors = {}
    for part, (outputs, inputs, shift) in {"fc1": (width, dim, 23), "fc2": (dim, width, fc2_shift)}.items():
        tensors[f"m.{part}.weight"] = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        tensors[f"m.{part}.bias"] = rng.integers(-5000, 5000, outputs).astype(np.int32)
        tensors[f"m.{part}.mult"] = rng.integers(1 << 15, 1 << 16, outputs).astype(np.uint16)
        tensors[f"m.{part}.shift"] = np.full(outputs, shift, np.uint8)
    tensors |= {"m.gelu.mult": np.array([48899], np.uint16), "m.gelu.shift": np.array([17], np.uint8)}
    tensors["m.gelu.zero"] = np.array([17], np.uint8)
    x = rng.integers(-32768, 32768, (3, dim)).astype(np.int16)
    y = rng.integers(-128, 128, (3, dim)).astype(np.int8)
    got = Mlp.load(tensors, "m").dense(x[None], y[None])
    hidden = scalar.hidden(tensors, "m", y.tolist())
    assert len({v for row in hidden for v in row}) > 20
    assert got["hidden"][0].tolist() == hidden
    assert got["mlp"][0].tolist() == scalar.added(x.tolist(), scalar.linear(tensors, "m.fc2", hidden))
