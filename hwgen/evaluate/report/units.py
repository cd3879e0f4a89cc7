"""Errors of softmax, activations and norms in output LSBs: against the exact function of the quantized input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from golden import reference
from golden.activation import H_MAX, H_MIN, Activation
from golden.errors import Error, measure
from hwgen.network.description import DenseMlp, Description, Layer, MoeMlp

#: Largest code of what gates an activation.
GATE = 255
#: Of each error half an LSB is the rounding of the output itself.
UNITS = ("layernorm", "softmax", "activation")


def unit_errors(description: Description, task: str, run: Mapping[str, Any]) -> dict[str, dict[str, Error]]:
    """By unit and tensor: LayerNorm and softmax on the golden model's tensors `run` of one task, activations
    on all codes."""
    found: dict[str, dict[str, Error]] = {unit: {} for unit in UNITS}
    stream = "embed"
    if description.model.norm_pre:
        found["layernorm"]["norm_pre"] = _layernorm(description, "norm_pre", run["embed"], run["norm_pre"])
        stream = "stream"
    for index, layer in enumerate(description.model.layers):
        name = f"layers.{index}"
        sources = (f"{name}.proj", f"{name}.fc2") if description.model.post_norm else (stream, f"{name}.attn")
        for norm, source in zip((f"{name}.norm1", f"{name}.norm2"), sources, strict=True):
            found["layernorm"][norm] = _layernorm(description, norm, run[source], run[norm])
        if description.model.qk_norm:
            for part in "qk":
                inputs, codes = (heads(run[f"{name}.{one}"], description.model.heads) for one in (f"{part}_proj", part))
                norm = f"{name}.attn.{part}_norm"
                found["layernorm"][norm] = _layernorm(description, norm, inputs, codes, 255 if part == "q" else 127)
        exact = reference.probabilities(run[f"{name}.score"])
        found["softmax"][f"{name}.prob"] = measure(f"{name}.prob", run[f"{name}.prob"], exact)
        found["activation"] |= {error.case: error for error in _activations(description, name, layer)}
        stream = f"{name}.mlp"
    head = next(one for one in description.model.tasks if one.name == task)
    if head.norm:
        source = f"{task}.pool" if head.head == "mean_norm" else stream
        error = _layernorm(description, f"tasks.{task}.norm", run[source], run[f"{task}.norm"])
        found["layernorm"][f"{task}.norm"] = error
    return found


def heads(tensor: np.ndarray, count: int) -> np.ndarray:
    """[B, N, A] to [B, N, heads, head_dim]."""
    return tensor.reshape(*tensor.shape[:2], count, -1)


def _layernorm(description: Description, name: str, x: np.ndarray, found: np.ndarray, top: int = 255) -> Error:
    """`top`: the largest code; int8's -128 is taken for -127."""
    gamma, beta, shift, eps = (description.tensors[f"{name}.{part}"] for part in ("gamma", "beta", "shift", "eps"))
    exact = reference.layernorm(x, gamma, beta, int(shift[0]), int(eps[0]), description.model.rms_norm)
    return measure(name, np.maximum(found, -top), np.clip(exact, -top, top))


def _activations(description: Description, name: str, layer: Layer) -> Iterator[Error]:
    """Of a layer's MLP or all of its experts, over all 4096 pre-activations."""
    mlp = layer.mlp
    names = [f"moe.experts.{e}" for e in range(mlp.experts)] if isinstance(mlp, MoeMlp) else ["mlp"]
    h = np.arange(H_MIN, H_MAX + 1)
    for part in names:
        case = f"{name}.{part}.activation"
        made = Activation.load(description.tensors, case, mlp.activation)
        if isinstance(mlp, DenseMlp) and mlp.gated:  # by the largest code: it has the largest error
            exact = reference.gated_output(h, mlp.activation, GATE, made.mult, made.shift, made.zero)
            yield measure(case, made.gated(h, np.full(h.shape, GATE, np.int16)), np.clip(exact, -255, 255))
            continue
        exact = reference.activation_output(h, mlp.activation, made.mult, made.shift, made.zero)
        yield measure(case, made.codes(), np.clip(exact, -255, 255))
