"""Operators of other domains against onnxruntime, which defines them, and QONNX's Quant against its own formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from hwgen.importers.onnx_operators import MICROSOFT, operators, rounded

RNG = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


CASES: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
    "Gelu": ([values(2, 5)], {}), "BiasGelu": ([values(2, 5), values(5)], {}),
    "QuickGelu": ([values(2, 5)], {"alpha": 1.7}),
    "FastGelu": ([values(2, 5), values(5)], {}),
    "SkipLayerNormalization": ([values(1, 3, 8), values(1, 3, 8), values(8), values(8), values(8)], {"epsilon": 1e-5}),
    "Attention": ([values(2, 5, 8), values(8, 24), values(24)], {"num_heads": 2}),
    "MultiHeadAttention": (
        [values(2, 5, 8), values(2, 5, 8), values(2, 5, 8), values(24)], {"num_heads": 4, "scale": 0.3}
    ),
    "FusedMatMul": ([values(3, 4), values(5, 4)], {"alpha": 0.5, "transB": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_onnxruntime(name: str) -> None:
    inputs, attributes = CASES[name]
    outputs = ["y", "", "", "total"] if name.startswith("Skip") else ["y"]
    node = helper.make_node(name, [f"x{n}" for n in range(len(inputs))], outputs, domain=MICROSOFT, **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, x.shape) for n, x in enumerate(inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    fed = {f"x{n}": x for n, x in enumerate(inputs)}
    wanted = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, fed)
    found = ReferenceEvaluator(model, new_ops=operators()).run(None, fed)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_masks_are_not_passed_over() -> None:
    attention = next(one for one in operators() if one.__name__ == "Attention")
    with pytest.raises(NotImplementedError, match="attention with a mask"):
        attention._run(None, values(1, 2, 4), values(4, 12), values(12), np.ones(2, np.int32), num_heads=1)


@pytest.mark.parametrize(
    ("signed", "narrow", "bits", "low", "high"),
    [(1, 0, 4, -8, 7), (1, 1, 4, -7, 7), (0, 0, 4, 0, 15), (0, 1, 4, 0, 14)],
)
def test_quant(signed: int, narrow: int, bits: int, low: int, high: int) -> None:
    x = np.arange(-40, 40, dtype=np.float32) / 2
    found = rounded(x, np.float32(1), np.float32(0), np.float32(bits), signed, narrow, "ROUND")
    np.testing.assert_array_equal(found, np.clip(np.rint(x), low, high))
    assert (rounded(x, np.float32(1), np.float32(0), np.float32(8), 1, 0, "FLOOR") == np.floor(x)).all()
