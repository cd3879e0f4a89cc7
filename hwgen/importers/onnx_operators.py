"""Operators of onnxruntime's and QONNX's own domains for ONNX's reference evaluator, as their documentation defines
them. Tested by tests/importers/test_onnx_operators.py."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from hwgen.network.floatmodel import gelu, gelu_tanh, softmax

MICROSOFT, QONNX, BREVITAS = "com.microsoft", "qonnx.custom_op.general", "onnx.brevitas"


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, scale: float) -> np.ndarray:
    """Of q [B, M, width] on k, v [B, N, width]; scale 0: by the width of a head."""
    parts = [part.reshape(*part.shape[:2], heads, -1).transpose(0, 2, 1, 3) for part in (q, k, v)]
    scale = scale or 1 / math.sqrt(parts[0].shape[-1])
    context = softmax(parts[0] @ parts[1].swapaxes(-1, -2) * scale) @ parts[2]
    return np.ascontiguousarray(context.transpose(0, 2, 1, 3)).reshape(*q.shape[:2], -1).astype(v.dtype)


def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray | None, epsilon: float) -> np.ndarray:
    """Over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + epsilon) * gamma
    return np.asarray(normed if beta is None else normed + beta)


def rounded(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: np.ndarray, signed: int, narrow: int,
            mode: str) -> np.ndarray:  # fmt: skip
    """QONNX's Quant: the value that the integer stands for."""
    top = 2 ** (int(bits) - 1 if signed else int(bits)) - 1
    low = -top - 1 + narrow if signed else 0
    codes = {"ROUND": np.rint, "CEIL": np.ceil, "FLOOR": np.floor}.get(mode.upper(), np.rint)(x / scale + zero)
    return np.asarray((np.clip(codes, low, top - (0 if signed else narrow)) - zero) * scale, np.float32)


def _only(*rest: Any) -> None:
    if any(one is not None for one in rest):
        raise NotImplementedError("attention with a mask, a bias of positions, or earlier keys")


def _along(values: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """One value, or one for each index of an axis."""
    if values.size == 1:
        return values.reshape(())
    if values.ndim != 1:
        raise NotImplementedError("scales of blocks of weights")
    return values.reshape([-1 if number == axis % x.ndim else 1 for number in range(x.ndim)])


@cache
def operators() -> list[Any]:
    """Classes for `ReferenceEvaluator(new_ops=...)`."""
    from onnx.reference.op_run import OpRun

    def operator(name: str, domain: str, run: Any) -> Any:
        return type(name, (OpRun,), {"op_domain": domain, "_run": run})

    def norm_of_sum(self: Any, x: Any, skip: Any, gamma: Any, beta: Any = None, bias: Any = None,
                    epsilon: float = 1e-12) -> tuple[Any, ...]:  # fmt: skip
        total = x + skip if bias is None else x + skip + bias
        none = np.zeros(0, np.float32)
        return layer_norm(total, gamma, beta, epsilon), none, none, total

    def packed(self: Any, x: Any, weight: Any, bias: Any = None, mask: Any = None, *rest: Any, num_heads: int = 0,
               scale: float = 0.0, **others: Any) -> tuple[Any]:  # fmt: skip
        _only(mask, *rest)
        made = x @ weight if bias is None else x @ weight + bias
        q, k, v = np.split(made, 3, -1)
        return (attention(q, k, v, num_heads, scale),)

    def several(self: Any, q: Any, k: Any, v: Any, bias: Any = None, *rest: Any, num_heads: int = 0,
                scale: float = 0.0, **others: Any) -> tuple[Any]:  # fmt: skip
        _only(*rest)
        if bias is not None:
            q, k, v = (part + add for part, add in zip((q, k, v), np.split(bias, 3)))
        return (attention(q, k, v, num_heads, scale),)

    def quant(self: Any, x: Any, scale: Any, zero: Any, bits: Any, signed: int = 1, narrow: int = 0,
              rounding_mode: str = "ROUND", **others: Any) -> tuple[Any]:  # fmt: skip
        return (rounded(x, scale, zero, bits, signed, narrow, rounding_mode),)

    def fast(self: Any, x: Any, bias: Any = None, **others: Any) -> tuple[Any]:
        return (gelu_tanh(x if bias is None else x + bias),)

    def quantize(self: Any, x: Any, scale: Any, zero: Any = None, axis: int = 1, **others: Any) -> tuple[Any]:
        zero = np.zeros(1, np.uint8) if zero is None else zero
        limits = np.iinfo(zero.dtype)
        codes = np.rint(x / _along(scale, x, axis)) + _along(zero, x, axis)
        return (np.clip(codes, limits.min, limits.max).astype(zero.dtype),)

    def dequantize(self: Any, x: Any, scale: Any, zero: Any = None, axis: int = 1, **others: Any) -> tuple[Any]:
        codes = x.astype(np.float32) - (0 if zero is None else _along(zero, x, axis).astype(np.float32))
        return (np.asarray(codes * _along(scale, x, axis), np.float32),)

    def product(self: Any, a: Any, b: Any, alpha: float = 1.0, transA: int = 0, transB: int = 0,
                **others: Any) -> tuple[Any]:  # fmt: skip
        return (np.float32(alpha) * ((a.swapaxes(-1, -2) if transA else a) @ (b.swapaxes(-1, -2) if transB else b)),)

    made = [
        operator("Gelu", MICROSOFT, lambda self, x, **others: (gelu(x),)),
        operator("BiasGelu", MICROSOFT, lambda self, x, bias, **others: (gelu(x + bias),)),
        operator("FastGelu", MICROSOFT, fast),
        operator("QuantizeLinear", "", quantize), operator("DequantizeLinear", "", dequantize),
        operator("QuickGelu", MICROSOFT, lambda self, x, alpha=1.702: (x / (1 + np.exp(-np.float32(alpha) * x)),)),
        operator("SkipLayerNormalization", MICROSOFT, norm_of_sum), operator("Attention", MICROSOFT, packed),
        operator("MultiHeadAttention", MICROSOFT, several), operator("FusedMatMul", MICROSOFT, product),
    ]  # fmt: skip
    return [*made, *(operator("Quant", domain, quant) for domain in (QONNX, BREVITAS))]
