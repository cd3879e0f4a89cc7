"""Linear layers, and the checkpoint's tensors they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwgen.network.floatmodel import expected_checkpoint
from hwgen.quantize.layers import checkpoint_rows, linear_layers
from tests.random_model import random_description

DENSE = {"mlp": {"kind": "dense", "hidden": 50}}
MOE = {"mlp": {"kind": "moe", "experts": 3, "hidden": 30, "top_k": 2, "gate": "topk_softmax"}}
TASKS = [{"name": "a", "head": "mean", "outputs": 3, "norm": True}, {"name": "b", "head": "none", "norm": False}]


@pytest.mark.parametrize("layers", [[DENSE], [MOE, DENSE]], ids=["dense", "moe"])
def test_every_layer_has_the_checkpoints_weights(layers: list[dict[str, Any]]) -> None:
    model = random_description(1, layers=layers, tasks=TASKS).model
    sizes, shapes = linear_layers(model), expected_checkpoint(model)
    rows = checkpoint_rows(model)
    assert rows.keys() == sizes.keys()
    taken: dict[str, int] = {}
    for name, (source, part) in rows.items():
        tensor = source if ".gate." in name else f"{source}.w"
        outputs = len(np.empty(shapes[tensor][0])[part])
        assert outputs * shapes[tensor][1] == sizes[name]
        taken[tensor] = taken.get(tensor, 0) + sizes[name]
    assert taken == {name: shapes[name][0] * shapes[name][1] for name in taken}
