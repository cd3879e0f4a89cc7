"""The float network: GELU, its taps, what is no checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.network.floatmodel import FloatModel, gelu
from hwgen.quantize import float_network, quantize
from tests.quantize.helpers import DENSE, MEAN, MOE, write_random_network
from tests.random_model import random_images


def test_gelu_by_known_values() -> None:
    known = [-0.0455003, -0.1586553, 0.0, 0.3457312, 0.8413447, 2.9959503]
    np.testing.assert_allclose(gelu(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])), known, atol=5e-7)


def test_tap_names_are_those_of_the_golden_model(tmp_path: Path) -> None:
    path = write_random_network(tmp_path, 2, layers=[DENSE, MOE], tasks=[MEAN])
    network: FloatModel = float_network(path)
    description = quantize(path)
    images = random_images(description, 8, 0)
    seen: set[str] = set()
    network.run(images, "a", lambda name, value: seen.add(name))
    known = set(Golden(description).run(images, "a", keep=True).tensors)
    floats = {"pixels", "layers.0.pre", "layers.1.expert.0.pre"}  # kept by the float network only
    tapped = {re.sub(r"expert\.\d+", "expert.0", name) for name in seen}
    assert floats <= tapped <= known | floats | {"layers.1.expert.0.hidden"}


def test_not_finite_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write_random_network(tmp_path, 5, layers=[DENSE])
    tensors = dict(np.load(tmp_path / "float.npz"))
    tensors["l0.fc1.w"][0, 0] = np.nan
    np.savez(tmp_path / "float.npz", **tensors)
    with pytest.raises(HwgenError, match=r"float\.npz: l0\.fc1\.w\n  expected: finite numbers\n  found:    nan or inf"):
        quantize(path)
