"""hwgen's own checkpoint without a structure file: the same description as with one, and what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.importers import Normalize, Overrides, TaskChoice, load
from hwgen.quantize import read_job
from tests.paths import MNIST

TASKS = [TaskChoice(name="digit", head="class_token"), TaskChoice(name="segment", head="every_token")]
GIVEN = Overrides(
    name="mnist_m3vit", heads=2, top_k=2, gate="softmax_topk", normalize=Normalize(mean=[0.0], std=[255.0]), tasks=TASKS
)  # fmt: skip


def test_the_example_from_its_shapes() -> None:
    stated = read_job(MNIST / "quantize.yaml").imported
    imported = load(MNIST / "float.npz", overrides=GIVEN)
    assert imported.model == stated.model
    assert (imported.source, imported.eps, imported.mean, imported.std) == ("hwgen", 1e-6, [0.0], [255.0])
    assert imported.tensors.keys() == stated.tensors.keys()
    assert all(np.array_equal(imported.tensors[name], tensor) for name, tensor in stated.tensors.items())


def message(path: Path, **changes: Any) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path, "hwgen", GIVEN.model_copy(update=changes))
    return caught.value.text().replace(str(path.parent), "DIR")


@pytest.mark.parametrize("key", ["heads", "top_k", "gate", "normalize", "tasks"])
def test_what_the_checkpoint_does_not_tell_is_asked_for(key: str) -> None:
    text = message(MNIST / "float.npz", **{key: None})
    assert text.startswith("DIR/float.npz\n  expected: ")
    option = "--mean and --std" if key == "normalize" else "--" + key.replace("_", "-")
    assert f", which the checkpoint does not tell\n  found:    no value given\n  mend:     give `{option}" in text


def test_wrong_tensors(tmp_path: Path) -> None:
    tensors = dict(np.load(MNIST / "float.npz"))

    def changed(**changes: np.ndarray | None) -> str:
        path = tmp_path / "x.npz"
        np.savez(path, **{name: value for name, value in (tensors | changes).items() if value is not None})
        return message(path)

    assert "x.npz: pos\n  expected: float [any]\n  found:    no such tensor" in changed(pos=None)
    assert changed(**{"embed.w": np.zeros((64, 15), "f")}) == (
        "DIR/x.npz: embed.w\n  expected: square patches of 1 or 3 channels\n  found:    15 pixels\n"
        "  mend:     write a quantize.yaml with the structure"
    )
    assert "x.npz: l1.gate0\n  expected: float [any]\n  found:    no such tensor" in changed(**{"l1.gate0": None})
    assert "x.npz: l9.w\n  expected: only the " in changed(**{"l9.w": np.zeros(3, "f")})
    assert "x.npz: l0.fc1.b\n  expected: float [256]\n  found:    float32 [3]" in changed(
        **{"l0.fc1.b": np.zeros(3, "f")}
    )
    assert "x.npz: l0.fc1.b\n  expected: float [256]\n  found:    int64 [256]" in changed(
        **{"l0.fc1.b": np.zeros(256, int)}
    )
