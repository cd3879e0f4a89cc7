"""The weighted layers of an ONNX graph in their order: convolution, LayerNorms, whole or in pieces, linear layers.

Tested by tests/importers/test_onnx.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.onnx_graph import Graph, name_of

CONV, NORM, LINEAR = "Conv", "LayerNormalization", "linear layer"
MEND = "plain Vision Transformers are supported; docs/importing.md lists what may be between their layers"


@dataclass
class Layer:
    """node:    where it begins, for messages
    kind:    CONV, NORM or LINEAR
    data:    the tensor it reads
    output:  the tensor it makes, with its bias
    weight:  [out, in], of a NORM [width], of a CONV [out, channel, row, column]
    epsilon: of a NORM
    name:    of the constant that is its weight in the graph
    """

    node: Any
    kind: str
    data: str
    output: str
    weight: np.ndarray
    bias: np.ndarray | None
    epsilon: float = 0.0
    name: str = ""

    @property
    def shift(self) -> np.ndarray:
        """The bias of a NORM, zeros where the graph has none."""
        return np.zeros_like(self.weight) if self.bias is None else self.bias

    def apply(self, x: np.ndarray) -> np.ndarray:
        """A linear layer's result for rows x."""
        made = x @ self.weight.T.astype(np.float64)
        return np.asarray(made if self.bias is None else made + self.bias)


@dataclass(frozen=True)
class Part:
    """Layers that are one of the float network, by the `name` that hwgen.network.floatmodel has for it; `rows`: the
    order of their outputs, if it is another."""

    name: str
    layers: list[Layer]
    rows: np.ndarray | None = None


def differs(graph: Graph, node: Any, expected: str) -> HwgenError:
    """The error for a node that is not what a ViT has there."""
    return HwgenError(graph.where, f"node {name_of(node)}", expected=expected, found=str(node.op_type), mend=MEND)


def find_layers(graph: Graph) -> list[Layer]:
    """All of them."""
    return [layer for node in graph.nodes for layer in _layers(graph, node)]


def _layers(graph: Graph, node: Any) -> Iterator[Layer]:
    data, constants = graph.data(node), graph.constants(node)
    if not data:
        return
    if node.op_type == CONV and len(data) == 1:
        yield _conv(graph, node, constants)
    elif node.op_type == NORM and len(data) == 1:
        yield Layer(node, NORM, data[0], node.output[0], constants[0], constants[1] if len(constants) > 1 else None,
                    _attribute(node, "epsilon", 1e-5))  # fmt: skip
    elif node.op_type == "SkipLayerNormalization":
        beta = constants[1] if len(constants) > 1 else None
        yield Layer(node, NORM, node.output[3], node.output[0], constants[0], beta, _attribute(node, "epsilon", 1e-12))
    elif node.op_type == "Sqrt":
        norm = _norm_in_pieces(graph, node)
        if norm is not None:
            yield norm
    elif node.op_type in ("MatMul", "Gemm", "FusedMatMul") and len(data) == 1 and constants and constants[0].ndim == 2:
        yield _linear(graph, node, constants)
    elif node.op_type == "Attention" and node.domain == "com.microsoft" and len(data) == 1:
        yield Layer(node, LINEAR, data[0], "", constants[0].T, constants[1] if len(constants) > 1 else None)


def _conv(graph: Graph, node: Any, constants: list[np.ndarray]) -> Layer:
    name = next(name for name in node.input if name not in graph.live)
    bias, output = constants[1] if len(constants) > 1 else None, node.output[0]
    for reader in graph.consumers.get(output, ()):
        added = [one for one in graph.constants(reader) if one.size == len(constants[0])]
        if bias is None and reader.op_type == "Add" and added and added[0].ndim > 2:
            bias, output = added[0].reshape(-1), reader.output[0]
    return Layer(node, CONV, graph.data(node)[0], output, constants[0], bias, name=name)


def _linear(graph: Graph, node: Any, constants: list[np.ndarray]) -> Layer:
    name = next(name for name in node.input if name not in graph.live)
    scale = _attribute(node, "alpha", 1.0)
    weight = constants[0] if _attribute(node, "transB", 0) else constants[0].T
    weight = weight if scale == 1 else weight * np.float32(scale)
    bias, output = constants[1] if len(constants) > 1 else None, node.output[0]
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (len(weight),)) * np.float32(_attribute(node, "beta", 1.0))
    following = graph.follow(output, "Add", len(weight)) if bias is None else None
    if following is not None:
        bias, output = following[1], following[0].output[0]
    elif bias is None:
        fused = next((one for one in graph.readers(output) if one.op_type in ("BiasGelu", "FastGelu")), None)
        if fused is not None and graph.constants(fused):
            bias, output = graph.constants(fused)[0], ""
        else:
            bias = _bias_of_parts(graph, output, len(weight))
    return Layer(node, LINEAR, graph.data(node)[0], output, weight, bias, name=name)


def _bias_of_parts(graph: Graph, output: str, size: int) -> np.ndarray | None:
    """Added to q, k and v behind their split, as onnxsim leaves it that makes one product of three."""
    split = next((node for node in graph.readers(output) if node.op_type == "Split"), None)
    if split is None:
        return None
    parts = [graph.values[part].shape[-1] for part in split.output]
    added = [graph.follow(part, "Add", width) for part, width in zip(split.output, parts)]
    if sum(parts) != size or all(one is None for one in added):
        return None
    return np.concatenate([np.zeros(width, np.float32) if one is None else one[1] for one, width in zip(added, parts)])


def _norm_in_pieces(graph: Graph, root: Any) -> Layer | None:
    """A LayerNorm of several nodes, known by its square root; of opsets before 17."""
    add = graph.made_by(root.input[0])
    epsilon = graph.constants(add) if add is not None and add.op_type == "Add" else []
    variance = graph.made_by(graph.data(add)[0]) if len(epsilon) == 1 and epsilon[0].size == 1 else None
    square = graph.made_by(variance.input[0]) if variance is not None and variance.op_type == "ReduceMean" else None
    if square is None or square.op_type not in ("Pow", "Mul"):
        return None
    centred = graph.made_by(square.input[0])
    if centred is None or centred.op_type != "Sub" or graph.made_by(centred.input[1]).op_type != "ReduceMean":
        return None
    data = centred.input[0]
    width = graph.values[data].shape[-1]
    # The division, or the product with the reciprocal.
    node = next(graph.readers(root.output[0]), None)
    if node is not None and node.op_type == "Reciprocal":
        node = next(graph.readers(node.output[0]), None)
    if node is None or node.op_type not in ("Div", "Mul"):
        return None
    scaled = graph.follow(node.output[0], "Mul", width)
    output, gamma = (scaled[0].output[0], scaled[1]) if scaled else (node.output[0], np.ones(width, np.float32))
    moved = graph.follow(output, "Add", width)
    output, beta = (moved[0].output[0], moved[1]) if moved else (output, None)
    return Layer(centred, NORM, data, output, gamma, beta, float(f"{epsilon[0].reshape(-1)[0]:.6g}"))


def _attribute(node: Any, name: str, default: float) -> float:
    """Without the noise of the graph's float32."""
    for one in node.attribute:
        if one.name == name:
            return float(f"{one.f:.6g}") if one.type == 1 else float(one.i)
    return default
