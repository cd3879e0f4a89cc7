"""Attention pooling behind the blocks of an ONNX graph, as in SigLIP: a constant query on the patches, an MLP with a
residual."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from hwgen.importers.onnx_blocks import close
from hwgen.importers.onnx_graph import Graph
from hwgen.importers.onnx_layers import LINEAR, NORM, Layer, Part
from hwgen.importers.onnx_operators import attention, layer_norm
from hwgen.network.floatmodel import ACTIVATIONS

#: Behind the layers of k and v.
KINDS = [LINEAR, NORM, LINEAR, LINEAR]


@dataclass
class Pool:
    """parts: its linear layers; norm: its own; state: by timm's names; value: what it makes of the patches [B, D]"""

    parts: list[Part]
    norm: Layer
    state: dict[str, np.ndarray]
    value: np.ndarray


def read_pool(graph: Graph, layers: list[Layer], patches: np.ndarray, heads: int, activation: str) -> Pool | None:
    """The pooling that these layers begin with, of normed patches [B, P, D]; None if it is none."""
    for count in (1, 2):
        made, rest = layers[:count], layers[count : count + len(KINDS)]
        alike = {graph.source(layer.data) for layer in made}
        if [layer.kind for layer in rest] == KINDS and {layer.kind for layer in made} == {LINEAR} and len(alike) == 1:
            pool = _read(graph, made, rest, patches, heads, activation)
            if pool is not None:
                return pool
    return None


def _read(
    graph: Graph, made: list[Layer], rest: list[Layer], patches: np.ndarray, heads: int, activation: str
) -> Pool | None:
    proj, norm, fc1, fc2 = rest
    batch, width = len(patches), proj.weight.shape[1]
    if sum(len(layer.weight) for layer in made) != 2 * width or width % heads or width != patches.shape[-1]:
        return None
    wanted = graph.values[proj.data].reshape(batch, -1)
    for order in permutations(made):
        weight = np.concatenate([layer.weight for layer in order])
        bias = np.concatenate([np.zeros(len(one.weight), np.float32) if one.bias is None else one.bias
                               for one in order])  # fmt: skip
        k, v = np.split(patches @ weight.T.astype(np.float64) + bias, 2, -1)
        for query in _queries(graph, made[0], proj, width):
            for factor in (0.0, 1.0, heads / width, width**-0.5, (heads / width) ** 0.25):
                q = np.broadcast_to(query, (batch, 1, width))
                context = attention(q, k, v, heads, factor)[:, 0]
                if close(context, wanted):
                    query = query * np.float32(factor * math.sqrt(width / heads) or 1)
                    x = proj.apply(context)
                    hidden = ACTIVATIONS[activation](fc1.apply(layer_norm(x, norm.weight, norm.bias, norm.epsilon)))
                    state = {"latent": query[None, None], "kv.weight": weight, "kv.bias": bias,
                             "norm.weight": norm.weight, "norm.bias": norm.shift}  # fmt: skip
                    for name, layer in (("proj", proj), ("mlp.fc1", fc1), ("mlp.fc2", fc2)):
                        state |= {f"{name}.weight": layer.weight}
                        state |= {} if layer.bias is None else {f"{name}.bias": layer.bias}
                    parts = [Part("map0.kv", list(order)), Part("map0.proj", [proj]), Part("map0.fc1", [fc1]),
                             Part("map0.fc2", [fc2])]  # fmt: skip
                    return Pool(parts, norm, {f"attn_pool.{name}": values for name, values in state.items()},
                                x + fc2.apply(hidden))  # fmt: skip
    return None


def _queries(graph: Graph, first: Layer, last: Layer, width: int) -> Iterator[np.ndarray]:
    """Constants between two layers that may be the query, alike for all images."""
    for node in graph.nodes[graph.nodes.index(first.node) : graph.nodes.index(last.node)]:
        for constant in graph.constants(node) if graph.data(node) else []:
            rows = constant.reshape(-1, width) if constant.size and constant.size % width == 0 else constant[None][:0]
            if len(rows) and constant.dtype.kind == "f" and (rows == rows[0]).all():
                yield rows[0]
