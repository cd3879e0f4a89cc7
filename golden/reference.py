"""Float operators: the exact function of the quantized input, against which `golden.errors` measures.

Results are in output LSBs (or in the unit said below), before rounding and saturation. They are for reports only; no
bit of the model comes from here.

Tested by tests/golden/test_errors.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def layernorm(
    x: NDArray[np.int16], gamma: NDArray, beta: NDArray, shift: int, eps: int, rms: bool = False
) -> NDArray[np.longdouble]:
    """LayerNorm or RMSNorm over the last axis of x int16 [..., D], in LSBs of the output; parameters: see
    `golden.layernorm`.

    `(1024·(D·x − Σx)/√(D·Σx² − (Σx)² + eps)·gamma + beta) / 2^shift`, of RMSNorm without the Σx. The operands of root
    and quotient are exact integers, so only the extended-precision root, quotient and products round.
    """
    d = x.shape[-1]
    wide = x.astype(np.int64)
    total = np.int64(0) if rms else wide.sum(axis=-1, keepdims=True)
    variance = d * (wide * wide).sum(axis=-1, keepdims=True) - total * total + eps
    xhat = 1024 * (d * wide - total).astype(np.longdouble) / np.sqrt(variance.astype(np.longdouble))
    return (xhat * gamma + beta) / np.longdouble(2) ** shift


def probabilities(t: NDArray[np.int16]) -> Float64:
    """`255 * 2^(-u/32)`, `u = max(t) - t`, in LSBs of p, of scores t int16 [..., N]."""
    wide = t.astype(np.float64)
    return 255 * np.exp2((wide - wide.max(axis=-1, keepdims=True)) / 32)


def _sigmoid(x: Float64) -> Float64:
    return np.asarray((1 + np.tanh(x / 2)) / 2)


def _gelu(x: Float64) -> Float64:
    """`x·Φ(x) = x/2·erfc(−x/√2)`; erfc keeps its relative precision where the result is near zero (x << 0)."""
    flat = [v / 2 * math.erfc(-v / math.sqrt(2)) for v in np.ravel(x).tolist()]
    return np.array(flat, dtype=np.float64).reshape(np.shape(x))


#: The activation functions by their names in a description. `1 + tanh(z) = 2·σ(2z)`.
ACTIVATIONS: dict[str, Callable[[Float64], Float64]] = {
    "gelu": _gelu,
    "gelu_tanh": lambda x: x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "silu": lambda x: x * _sigmoid(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "relu": lambda x: np.maximum(x, 0),
}


def activation_output(h: NDArray[np.integer], kind: str, mult: int, shift: int, zero: int) -> Float64:
    """The activation of pre-activations h (steps of 2^-7) in LSBs of the output, zero point included."""
    return 512 * ACTIVATIONS[kind](np.asarray(h, np.float64) / 128) * mult / 2.0**shift + zero


def gated_output(h: NDArray[np.integer], kind: str, up: int, mult: int, shift: int, zero: int) -> Float64:
    """As `activation_output`, times what gates it, a code `up` of which 128 is one."""
    return (activation_output(h, kind, mult, shift, 0) * up / 128) + zero


def gate_weights(t: NDArray[np.int32], winners: NDArray[np.int32], gate: str) -> Float64:
    """Weights of the winners [..., k], 1.0 = 1.0, of logits t int24 [..., experts] (log2, 16 fraction bits)."""
    wide = t.astype(np.float64)
    p = np.exp2((wide - wide.max(axis=-1, keepdims=True)) / 65536)
    won = np.take_along_axis(p, winners, axis=-1)
    return won / (p if gate == "softmax_topk" else won).sum(axis=-1, keepdims=True)
