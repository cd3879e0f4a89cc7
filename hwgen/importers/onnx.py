"""A Vision Transformer as an ONNX graph: weights by the order of the nodes, everything between them by value.

The graph's convolution, LayerNorms and linear layers must come in the order of a ViT. What lies between them is written
differently by each exporter, so it is compared by value: ONNX's reference evaluator runs the graph on a random image,
and the imported network must compute the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.beside import stated
from hwgen.importers.common import Draft, Imported, Normalize, Overrides
from hwgen.importers.onnx_blocks import (
    Block,
    attention_state,
    close,
    find_blocks,
    hidden_differs,
    read_activation,
    read_attention,
)  # fmt: skip
from hwgen.importers.onnx_embedding import read_embedding, read_pixels, token_names
from hwgen.importers.onnx_graph import Graph
from hwgen.importers.onnx_layers import CONV, NORM, Layer, Part, differs, find_layers
from hwgen.importers.onnx_scales import keep_integers
from hwgen.importers.onnx_tail import Tail, read_tail
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm
from hwgen.network.floatmodel import FloatModel


def load_onnx(path: Path, overrides: Overrides) -> Imported:
    """The network of an ONNX file; another network's graph raises HwgenError with the first node that differs."""
    graph = Graph(path, overrides.image_size)
    found = read_network(graph)
    # What the graph states or the comparison shows.
    known: dict[str, Any] = {
        "heads": found.heads, "image_size": graph.size, "layer_norm_eps": found.epsilon, "activation": found.activation,
        "pooling": found.tail.pooling,
    }  # fmt: skip
    filled = {key: value for key, value in known.items() if getattr(overrides, key) is None}
    if overrides.head_dim is not None:
        del filled["heads"]
    if found.normalize is not None and overrides.normalize is None:
        filled["normalize"] = found.normalize
    beside = stated(path)
    given, notes, warnings = beside.fill(overrides.model_copy(update=filled))
    notes, warnings = found.notes + notes, found.warnings + warnings
    draft = Draft(str(path), "onnx", given, beside, notes=notes, warnings=warnings)
    imported = import_timm(Source(found.state, str(path)), draft)
    compare(graph, found, imported)
    keep_integers(graph, found.parts, imported)
    return imported


@dataclass
class Network:
    """What was found in a graph: the state dict by timm's names, and what timm's state dicts do not tell.

    `fed`: mean and standard deviation of the comparison's pixels, one per channel, in codes. `pre`: a norm before the
    blocks, if there is one. `parts`: all linear layers.
    """

    state: dict[str, np.ndarray]
    pre: Layer | None
    blocks: list[Block]
    heads: int
    activation: str
    epsilon: float
    tail: Tail
    parts: list[Part]
    normalize: Normalize | None
    fed: tuple[list[float], list[float]]
    notes: list[str]
    warnings: list[str]


def read_network(graph: Graph) -> Network:
    """Of a graph of a ViT."""
    layers = find_layers(graph)
    if not layers or layers[0].kind != CONV or layers[0].weight.ndim != 4:
        if layers:
            raise differs(graph, layers[0].node, "the Conv patch_embed.proj of a ViT")
        raise HwgenError(graph.where, expected="the Conv patch_embed.proj of a ViT", found="no layer with weights",
                         mend="export the whole model")  # fmt: skip
    conv, first = layers[0], 1
    pre = layers[1] if [layer.kind for layer in layers[1:3]] == [NORM, NORM] else None
    first += pre is not None
    blocks = find_blocks(graph, layers, first)
    normalize, fed, notes = read_pixels(graph, conv)
    state = {"patch_embed.proj.weight": conv.weight} | _bias("patch_embed.proj", conv.bias)
    front, state["pos_embed"] = read_embedding(graph, conv, pre or blocks[0].norm1)
    if pre is not None:
        state |= {"norm_pre.weight": pre.weight, "norm_pre.bias": pre.shift}
    tokens = graph.values[blocks[0].norm1.data].size // len(graph.images) // len(conv.weight)
    parts = [Part("embed", [conv])]
    reading, activation = None, None
    for index, block in enumerate(blocks):
        _check_finite(graph, block, f"blocks.{index}")
        found = read_attention(graph, block, index, tokens, reading)
        if reading is not None and found.heads != reading.heads:
            raise differs(graph, block.proj.node, f"attention of {reading.heads} heads in all blocks")
        reading = reading or found
        state |= attention_state(block, found, f"blocks.{index}.attn") | _block_state(graph, block, f"blocks.{index}")
        rows = np.concatenate(found.rows(block.proj.weight.shape[1]))
        parts.append(Part(f"l{index}.qkv", block.qkv, rows))
        parts += [Part(f"l{index}.{name}", [layer])
                  for name, layer in (("proj", block.proj), ("fc1", block.fc1), ("fc2", block.fc2))]  # fmt: skip
        one = read_activation(graph, block, index)
        if activation not in (None, one):
            raise hidden_differs(graph, block, index)
        activation = one
    assert reading is not None and activation is not None
    rest = layers[first + sum(len(block.layers) for block in blocks) :]
    last = _last(graph, blocks[-1], tokens)
    tail = read_tail(graph, rest, last, front.shape[1], reading.heads, activation)
    state |= tail.state | token_names(front, distilled="head_dist.weight" in tail.state)
    norms = [layer for block in blocks for layer in block.layers if layer.kind == NORM]
    norms += [*([pre] if pre is not None else []), *tail.norms]
    return Network(state, pre, blocks, reading.heads, activation, _epsilon(graph, norms), tail,
                   parts + tail.parts, normalize, fed, notes, tail.warnings)  # fmt: skip


def _check_finite(graph: Graph, block: Block, name: str) -> None:
    """As of a state dict; no value could be compared else."""
    for part, layer in (
        *(("attn.qkv", layer) for layer in block.qkv), ("norm1", block.norm1), ("attn.proj", block.proj),
        ("norm2", block.norm2), ("mlp.fc1", block.fc1), ("mlp.fc2", block.fc2),
    ):  # fmt: skip
        tensors = {f"{name}.{part}.weight": layer.weight} | _bias(f"{name}.{part}", layer.bias)
        Source(tensors, graph.where).take_all()


def _bias(name: str, bias: np.ndarray | None) -> dict[str, np.ndarray]:
    return {} if bias is None else {f"{name}.bias": bias}


def _block_state(graph: Graph, block: Block, name: str) -> dict[str, np.ndarray]:
    """A block's weights by timm's names, but for those that make q, k and v."""
    state: dict[str, np.ndarray] = {}
    for part, layer in (("norm1", block.norm1), ("norm2", block.norm2)):
        state |= {f"{name}.{part}.weight": layer.weight, f"{name}.{part}.bias": layer.shift}
    for part, layer, gamma in (
        ("attn.proj", block.proj, "ls1"), ("mlp.fc1", block.fc1, ""), ("mlp.fc2", block.fc2, "ls2"),
    ):  # fmt: skip
        state |= {f"{name}.{part}.weight": layer.weight} | _bias(f"{name}.{part}", layer.bias)
        scaled = graph.follow(layer.output, "Mul", len(layer.weight)) if gamma else None
        if scaled is not None:
            state[f"{name}.{gamma}.gamma"] = scaled[1]
    return state


def _last(graph: Graph, block: Block, tokens: int) -> np.ndarray:
    """The residual stream [B, N, D] behind the last block, float64."""
    before, hidden = graph.values[block.norm2.data], graph.values[block.fc2.data]
    added = block.fc2.apply(hidden.reshape(-1, hidden.shape[-1]).astype(np.float64))
    scaled = graph.follow(block.fc2.output, "Mul", len(block.fc2.weight))
    added = added * scaled[1] if scaled is not None else added
    return np.asarray(before.reshape(len(graph.images), tokens, -1) + added.reshape(len(graph.images), tokens, -1))


def _epsilon(graph: Graph, norms: list[Layer]) -> float:
    """Of the LayerNorms."""
    found = {norm.epsilon: norm.node for norm in reversed(norms)}
    first = norms[0].epsilon
    for other in found:
        if other != first:
            raise differs(graph, found[other], f"LayerNorms of one epsilon, {first:g}")
    return first


def compare(graph: Graph, found: Network, imported: Imported) -> None:
    """Raise HwgenError unless the network computes the values of the graph."""
    network = FloatModel(imported.model, imported.tensors, eps=imported.eps, mean=found.fed[0], std=found.fed[1])
    seen: dict[str, np.ndarray] = {}
    outputs = [network.run(graph.images, task.name, seen.__setitem__) for task in imported.model.tasks]
    stream = "embed"
    if found.pre is not None:
        _same(graph, found.pre.data, found.pre.node, seen, stream)
        stream = "norm_pre"
    for index, block in enumerate(found.blocks):
        for tensor, name in (
            (block.norm1.data, f"layers.{index - 1}.mlp" if index else stream),
            (block.proj.data, f"layers.{index}.context"),
            (block.norm2.data, f"layers.{index}.attn"), (block.fc2.data, f"layers.{index}.hidden"),
        ):  # fmt: skip
            _same(graph, tensor, block.norm1.node, seen, name)
    wanted = found.tail.output
    if wanted is not None and not close(np.mean(outputs, 0)[:, 0], wanted):
        raise differs(graph, graph.made_by(graph.outputs[0]), "the values of the output in a ViT with these weights")


def _same(graph: Graph, tensor: str, reader: Any, seen: dict[str, np.ndarray], name: str) -> None:
    """HwgenError unless the graph's tensor has the values that the network has by this name."""
    values = graph.values[tensor]
    if values.size != seen[name].size or not close(values.reshape(seen[name].shape), seen[name]):
        made = graph.made_by(tensor) or reader
        raise differs(graph, made, f"the values of {name} in a ViT with these weights")
