"""Bits and bytes of the weights."""

import numpy as np

from hwgen.evaluate.report import report
from tests.evaluate.report.helpers import changed


def test_weights(made) -> None:
    network, description, images = made
    name = "layers.1.moe.experts.2.fc1"
    narrow = changed(description, lambda t: t.update({f"{name}.weight": np.clip(t[f"{name}.weight"], -7, 7)}))
    narrow.model = narrow.model.model_copy(update={"weight_bits": {name: 4}})
    rows = report(network, narrow, images[:1]).as_dict()["weights"]
    assert rows["layers"][name] == {"outputs": 24, "inputs": 32, "bits": 4, "bytes": 384}
    assert rows["layers"]["layers.0.mlp.fc1"] == {"outputs": 40, "inputs": 32, "bits": 8, "bytes": 1280}
    assert rows["bytes"] == sum(t.size for n, t in narrow.tensors.items() if n.endswith(".weight")) - 384
