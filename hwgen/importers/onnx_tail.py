"""Behind the last block of an ONNX graph: final norm, pooling and heads, or something that is left to the host.

Tested by tests/importers/test_onnx.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hwgen.importers.onnx_blocks import close
from hwgen.importers.onnx_graph import CARRIERS, Graph, name_of
from hwgen.importers.onnx_layers import LINEAR, NORM, Layer, Part, differs
from hwgen.importers.onnx_operators import layer_norm
from hwgen.importers.onnx_pool import read_pool

HEADS = ("head", "head_dist")
#: What mixes tokens: a graph that has it behind the blocks was not understood to its end.
MIXING = ("Attention", "MultiHeadAttention", "Softmax")


@dataclass
class Tail:
    """state: norm and heads by timm's names; norms, parts: norms and linear layers in use; output: what the tasks' mean
    must be, [B, classes], None without heads; pooling: what the head reads."""

    state: dict[str, np.ndarray] = field(default_factory=dict)
    norms: list[Layer] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    pooling: str | None = None
    output: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)


def read_tail(
    graph: Graph, rest: list[Layer], tokens: np.ndarray, prefix: int, heads: int, activation: str
) -> Tail:
    """The first of the usual endings that gives an output of the graph, of the residual stream [B, N, D] behind blocks
    of so many heads.

    Without one the network ends behind its last block, which a warning says.
    """
    outputs = [graph.values[name] for name in graph.outputs if graph.values[name].dtype.kind == "f"]
    for tail, wanted in _endings(graph, rest, tokens, prefix, heads, activation):
        for found in outputs:
            if found.size == wanted.size and close(found.reshape(wanted.shape), wanted):
                return tail
    left = [layer.node for layer in rest] or [graph.made_by(graph.outputs[0])]
    for node in _behind(graph, left[0]):
        shape = graph.values[node.output[0]].shape
        mixes = node.op_type != "Softmax" or (len(shape) > 2 and shape[-1] == tokens.shape[1])
        if node.op_type in MIXING and mixes:
            raise differs(graph, left[0], "a block as those before it, or the head of a ViT")
    names = ", ".join(dict.fromkeys(node.op_type for node in left))
    return Tail(warnings=[
        f"the graph goes on behind its last block with something else than a ViT's head, from node {name_of(left[0])} "
        f"on ({names}): that is left to the host; the tokens behind the last block are the output"
    ])  # fmt: skip


def _behind(graph: Graph, first: Any) -> Iterator[Any]:
    behind = graph.nodes[graph.nodes.index(first) :]
    return (node for node in behind if graph.data(node) and node.op_type not in CARRIERS)


def _endings(
    graph: Graph, rest: list[Layer], tokens: np.ndarray, prefix: int, heads: int, activation: str
) -> Iterator[tuple[Tail, np.ndarray]]:
    """Endings with as many of the layers as there are, and what they give."""
    if rest and rest[0].kind == NORM and rest[0].weight.size == tokens.shape[-1]:
        norm = rest[0]
        normed = layer_norm(tokens[:, prefix:], norm.weight, norm.bias, norm.epsilon)
        pool = read_pool(graph, rest[1:], normed, heads, activation)
        if pool is not None:
            state = pool.state | {"norm.weight": norm.weight, "norm.bias": norm.shift}
            used = 2 + sum(len(part.layers) for part in pool.parts)
            for head in rest[used:][:1]:
                made = head.apply(pool.value)
                parts = [*pool.parts, Part("head0", [head])]
                yield Tail(state | _heads([head]), [norm, pool.norm], parts, output=made), made
            yield Tail(state, [norm, pool.norm], pool.parts, output=pool.value), pool.value
        yield from _with_norm(rest[0], [layer for layer in rest[1:3] if layer.kind == LINEAR], tokens, prefix)
    yield Tail(), tokens


def _with_norm(norm: Layer, heads: list[Layer], tokens: np.ndarray, prefix: int) -> Iterator[tuple[Tail, np.ndarray]]:
    normed = layer_norm(tokens, norm.weight, norm.bias, norm.epsilon)
    behind = layer_norm(tokens[:, prefix:].mean(1), norm.weight, norm.bias, norm.epsilon)
    own = {"norm.weight": norm.weight, "norm.bias": norm.shift}
    pooled = {"fc_norm.weight": norm.weight, "fc_norm.bias": norm.shift}
    if heads and prefix and heads[0].weight.shape[1] == 2 * tokens.shape[-1]:  # DINOv2's, in two tasks
        made = heads[0].apply(np.concatenate([normed[:, 0], normed[:, prefix:].mean(1)], -1))
        halves = np.split(heads[0].weight, 2, 1)
        parts = [Part(f"head{number}", [replace(heads[0], weight=half)]) for number, half in enumerate(halves)]
        yield Tail(own | _heads(heads[:1]), [norm], parts, output=made / 2), made
    heads = [head for head in heads if head.weight.shape[1] == tokens.shape[-1]]
    if len(heads) == 2 and prefix == 2:
        made = np.mean([heads[number].apply(normed[:, number]) for number in range(2)], 0)
        parts = [Part(f"head{number}", [head]) for number, head in enumerate(heads)]
        yield Tail(own | _heads(heads), [norm], parts, output=made), made
    readings = [("avg", own, normed[:, prefix:].mean(1)), ("avg", pooled, behind)]
    if prefix:
        readings.insert(0, ("token", own, normed[:, 0]))
    for pooling, state, read in readings if heads else []:
        made = heads[0].apply(read)
        yield Tail(state | _heads(heads[:1]), [norm], [Part("head0", heads[:1])], pooling, made), made
    yield Tail(own, [norm]), normed
    for _, state, read in readings:
        yield Tail(state, [norm]), read


def _heads(heads: list[Layer]) -> dict[str, np.ndarray]:
    state: dict[str, np.ndarray] = {}
    for name, layer in zip(HEADS, heads):
        state |= {f"{name}.weight": layer.weight} | ({} if layer.bias is None else {f"{name}.bias": layer.bias})
    return state
