"""Errors of softmax, GELU and LayerNorm in output LSBs: against the exact function of the quantized input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from golden import reference
from golden.errors import Error, measure
from golden.gelu import H_MAX, H_MIN, Gelu
from hwgen.network.description import Description, MoeMlp

#: Of each error half an LSB is the rounding of the output itself.
UNITS = ("layernorm", "softmax", "gelu")


def unit_errors(description: Description, task: str, run: Mapping[str, Any]) -> dict[str, dict[str, Error]]:
    """By unit and tensor: LayerNorm and softmax on the golden model's tensors `run` of one task, GELU on all codes."""
    found: dict[str, dict[str, Error]] = {unit: {} for unit in UNITS}
    stream = "embed"
    for index, layer in enumerate(description.model.layers):
        name = f"layers.{index}"
        for norm, source in ((f"{name}.norm1", stream), (f"{name}.norm2", f"{name}.attn")):
            found["layernorm"][norm] = _layernorm(description, norm, run[source], run[norm])
        exact = reference.probabilities(run[f"{name}.score"])
        found["softmax"][f"{name}.prob"] = measure(f"{name}.prob", run[f"{name}.prob"], exact)
        found["gelu"] |= {error.case: error for error in _gelu(description, name, isinstance(layer.mlp, MoeMlp))}
        stream = f"{name}.mlp"
    head = next(one for one in description.model.tasks if one.name == task)
    if head.norm:
        source = f"{task}.pool" if head.head == "mean_norm" else stream
        error = _layernorm(description, f"tasks.{task}.norm", run[source], run[f"{task}.norm"])
        found["layernorm"][f"{task}.norm"] = error
    return found


def _layernorm(description: Description, name: str, x: np.ndarray, found: np.ndarray) -> Error:
    gamma, beta, shift, eps = (description.tensors[f"{name}.{part}"] for part in ("gamma", "beta", "shift", "eps"))
    exact = reference.layernorm(x, gamma, beta, int(shift[0]), int(eps[0]))
    return measure(name, found, np.clip(exact, -128, 127))


def _gelu(description: Description, name: str, experts: bool) -> Iterator[Error]:
    """Of a layer's MLP or all of its experts, over all 1024 pre-activations."""
    prefix = f"{name}.moe.experts." if experts else f"{name}.mlp."
    h = np.arange(H_MIN, H_MAX + 1)
    for tensor in description.tensors:
        if tensor.startswith(prefix) and tensor.endswith(".gelu.mult"):
            gelu = Gelu.load(description.tensors, tensor.removesuffix(".mult"))
            exact = np.clip(reference.gelu_output(h, gelu.mult, gelu.shift, gelu.zero), 0, 255)
            yield measure(tensor.removesuffix(".mult"), gelu.codes(), exact)
