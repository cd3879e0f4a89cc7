"""The dense MLP against Python integers, including the residual's saturation."""

import numpy as np
import pytest

from golden.mlp import Mlp
from hwgen.machine.tables import ACTIVATIONS
from tests.golden import scalar


@pytest.mark.parametrize(("fc2_shift", "x_shift"), [(10, 0), (25, 3), (47, 1)])
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("windows", [1, 2, 4])
def test_dense(kind: str, fc2_shift: int, x_shift: int, windows: int) -> None:
    """Also of channels that have windows beyond the first one: together they are the activation, cut at the last."""
    rng = np.random.default_rng(fc2_shift)
    dim, width = 12, 30
    tensors = {}
    for part, (outputs, inputs, shift) in {"fc1": (width, dim, 23), "fc2": (dim, width, fc2_shift)}.items():
        tensors[f"m.{part}.weight"] = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        tensors[f"m.{part}.bias"] = rng.integers(-5000, 5000, outputs).astype(np.int32)
        tensors[f"m.{part}.mult"] = rng.integers(1 << 15, 1 << 16, outputs).astype(np.uint16)
        tensors[f"m.{part}.shift"] = np.full(outputs, shift, np.uint8)
    tensors |= {"m.activation.mult": np.array([48899], np.uint16), "m.activation.shift": np.array([17], np.uint8)}
    tensors["m.activation.zero"] = np.array([-117], np.int16)
    count = [1] * width
    if windows > 1:
        tensors["m.activation.windows"] = rng.integers(1, windows + 1, width).astype(np.uint8)
        tensors["m.activation.windows"][3] = windows
        count = tensors["m.activation.windows"].tolist()
        tensors["m.activation.shift"] -= 2
    x = rng.integers(-32768, 32768, (3, dim)).astype(np.int16)
    y = rng.integers(-255, 256, (3, dim)).astype(np.int16)
    got = Mlp.load(tensors, "m", activation=kind, shift=x_shift).dense(x[None], y[None])
    hidden = scalar.hidden(tensors, "m", kind, y.tolist())
    assert len({v for row in hidden for v in row}) > 15
    assert got["hidden"].dtype == np.int16 and got["hidden"][0].tolist() == scalar.cut(hidden, count)
    assert windows == 1 or max(map(max, hidden)) > 255
    assert got["mlp"][0].tolist() == scalar.added(x.tolist(), scalar.linear(tensors, "m.fc2", hidden), x_shift)
