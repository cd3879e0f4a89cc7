"""Blocks of a ViT among the layers of an ONNX graph: which linear layer is what, found by the values they make.

Whatever is written between the layers (attention fused or in pieces, scaled on q or on the scores, GELU by erf or tanh)
is compared by value only. Tested by tests/importers/test_onnx.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, takewhile

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.onnx_graph import Graph
from hwgen.importers.onnx_layers import LINEAR, NORM, Layer, differs
from hwgen.importers.onnx_operators import attention, layer_norm
from hwgen.network.floatmodel import ACTIVATIONS

#: Largest difference of a value, as a share of the tensor's largest.
TOLERANCE = 1e-3
#: Weighted layers of a block: timm's name, kind.
BLOCK = (("norm1", NORM), ("attn.qkv", LINEAR), ("attn.proj", LINEAR),
         ("norm2", NORM), ("mlp.fc1", LINEAR), ("mlp.fc2", LINEAR))  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How q, k and v come out of the linear layers: the number of heads; the order of q, k, v among the layers, or of a
    single one's outputs, stacked as [3, heads, width] or interleaved as [heads, 3, width]; the factor of the scores;
    whether the norm of k comes before that of q."""

    heads: int
    order: tuple[int, ...] = (0, 1, 2)
    interleaved: bool = False
    factor: float = 0.0
    swapped: bool = False

    def rows(self, width: int) -> list[np.ndarray]:
        """Rows of the stacked layers' outputs that are q, k and v."""
        if self.interleaved:
            parts = np.arange(3 * width).reshape(self.heads, 3, -1).transpose(1, 0, 2).reshape(3, width)
        else:
            parts = np.arange(3 * width).reshape(3, width)
        return [parts[number] for number in self.order]


@dataclass
class Block:
    """Its layers, as `BLOCK` names them, but for q, k and v, which may be several, and the norms of a head's q and k,
    where there are any."""

    norm1: Layer
    qkv: list[Layer]
    head_norms: list[Layer]
    proj: Layer
    norm2: Layer
    fc1: Layer
    fc2: Layer

    @property
    def layers(self) -> list[Layer]:
        return [self.norm1, *self.qkv, *self.head_norms, self.proj, self.norm2, self.fc1, self.fc2]

    def norms_of(self, reading: Reading) -> list[Layer]:
        """Of q and of k."""
        return self.head_norms[::-1] if reading.swapped else self.head_norms

    def stacked(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Weight and bias of q, k and v as they come."""
        if len(self.qkv) == 1:
            return self.qkv[0].weight, self.qkv[0].bias
        weight = np.concatenate([layer.weight for layer in self.qkv])
        if all(layer.bias is None for layer in self.qkv):
            return weight, None
        zeros = [np.zeros(len(layer.weight), np.float32) for layer in self.qkv]
        return weight, np.concatenate([zero if one.bias is None else one.bias for one, zero in zip(self.qkv, zeros)])


def find_blocks(graph: Graph, layers: list[Layer], first: int) -> list[Block]:
    """The blocks from this layer on; without any, HwgenError names the first layer that is out of place."""
    blocks: list[Block] = []
    place = first
    while (block := _block(graph, layers[place:])) is not None:
        blocks.append(block)
        place += len(block.layers)
    if not blocks:
        for (name, kind), layer in zip(BLOCK, layers[first:]):
            if layer.kind != kind:
                raise differs(graph, layer.node, f"the {kind} blocks.0.{name} of a ViT")
        if len(layers) - first >= len(BLOCK):
            raise differs(graph, layers[first].node, "blocks of a ViT, their layers as wide as its tokens")
        name, kind = BLOCK[max(0, len(layers) - first)]
        raise HwgenError(graph.where, expected=f"the {kind} blocks.0.{name} of a ViT", found="the end of the graph",
                         mend="export the whole model")  # fmt: skip
    return blocks


def _block(graph: Graph, layers: list[Layer]) -> Block | None:
    if len(layers) < len(BLOCK) or layers[0].kind != NORM or layers[1].kind != LINEAR:
        return None
    read = graph.source(layers[1].data)
    inside = list(takewhile(lambda one: one.kind == NORM or graph.source(one.data) == read, layers[1:]))
    parts = {kind: [layer for layer in inside if layer.kind == kind] for kind in (LINEAR, NORM)}
    rest = layers[1 + len(inside) : 5 + len(inside)]
    if [layer.kind for layer in rest] != [LINEAR, NORM, LINEAR, LINEAR]:
        return None
    if len(parts[LINEAR]) not in (1, 3) or len(parts[NORM]) not in (0, 2):
        return None
    block = Block(layers[0], parts[LINEAR], parts[NORM], *rest)
    dim, width = block.qkv[0].weight.shape[1], block.proj.weight.shape[1]
    fits = sum(len(layer.weight) for layer in block.qkv) == 3 * width and len(block.proj.weight) == dim
    alike = len({norm.weight.size for norm in block.head_norms}) < 2
    fits = fits and alike and all(width % norm.weight.size == 0 for norm in block.head_norms)
    return block if fits and block.fc1.weight.shape[1] == dim == len(block.fc2.weight) else None


def rows(graph: Graph, tensor: str) -> np.ndarray:
    """A tensor's values as rows of its last axis, float64."""
    values = graph.values[tensor]
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether these are the same values but for rounding."""
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max())


def read_attention(graph: Graph, block: Block, index: int, tokens: int, known: Reading | None) -> Reading:
    """The reading under which the block's linear layers give what its projection reads."""
    weight, bias = block.stacked()
    made = rows(graph, block.qkv[0].data)[:tokens] @ weight.T.astype(np.float64)
    made = made if bias is None else made + bias
    wanted = rows(graph, block.proj.data)[:tokens]
    width = wanted.shape[1]
    for reading in _readings(width, block, known):
        q, k, v = (made[None, :, part] for part in reading.rows(width))
        if block.head_norms:
            q, k = (_normed(part, norm) for part, norm in zip((q, k), block.norms_of(reading)))
        if close(attention(q, k, v, reading.heads, reading.factor)[0], wanted):
            return reading
    expected = f"the values of layers.{index}.context in a ViT with these weights"
    raise differs(graph, graph.made_by(block.proj.data), expected)


def _normed(part: np.ndarray, norm: Layer) -> np.ndarray:
    """q or k [1, N, width] with the norm of each head."""
    return layer_norm(part.reshape(-1, norm.weight.size), norm.weight, norm.bias, norm.epsilon).reshape(part.shape)


def _readings(width: int, block: Block, known: Reading | None) -> Iterator[Reading]:
    """The most likely first."""
    if known is not None:
        yield known
    divisors = [heads for heads in range(1, width + 1) if width % heads == 0]
    divisors.sort(key=lambda heads: abs(width // heads - 64))
    if block.head_norms:
        divisors = [width // block.head_norms[0].weight.size]
    orders = list(permutations(range(3))) if len(block.qkv) == 3 else [(0, 1, 2)]
    for heads in divisors:
        for factor in dict.fromkeys((0.0, 1.0, heads / width, width**-0.5)):
            for order in orders:
                for interleaved in (False,) if len(block.qkv) == 3 else (False, True):
                    for swapped in (False, True) if block.head_norms else (False,):
                        yield Reading(heads, order, interleaved, factor, swapped)


def attention_state(block: Block, reading: Reading, name: str) -> dict[str, np.ndarray]:
    """Weight and bias of q, k, v, stacked, and their norms, by timm's names. Another factor of the scores than a head's
    width gives is put into what q comes from last."""
    weight, bias = block.stacked()
    parts = reading.rows(block.proj.weight.shape[1])
    place, width = np.concatenate(parts), len(parts[0])
    if (np.diff(place) != 1).any():  # a copy is half as much again of a large network
        weight, bias = weight[place], None if bias is None else bias[place]
    factor = np.float32(reading.factor * math.sqrt(width / reading.heads) if reading.factor else 1)
    state: dict[str, np.ndarray] = {}
    for part, norm in zip("qk", block.norms_of(reading)):
        scale = factor if part == "q" else np.float32(1)
        state |= {f"{name}.{part}_norm.weight": norm.weight * scale, f"{name}.{part}_norm.bias": norm.shift * scale}
    if reading.factor and not state:
        scales = np.where(np.arange(3 * width) < width, factor, np.float32(1))
        weight, bias = weight * scales[:, None], None if bias is None else bias * scales
    return state | {f"{name}.qkv.weight": weight} | ({} if bias is None else {f"{name}.qkv.bias": bias})


def read_activation(graph: Graph, block: Block, index: int) -> str:
    """The activation between the layers of the MLP."""
    pre, wanted = block.fc1.apply(rows(graph, block.fc1.data)), rows(graph, block.fc2.data)
    if wanted.shape != pre.shape:
        raise differs(graph, graph.made_by(block.fc2.data), f"the values of layers.{index}.hidden in a ViT")
    errors = {name: float(np.abs(function(pre) - wanted).max()) for name, function in ACTIVATIONS.items()}
    best = min(errors, key=lambda name: errors[name])
    if not errors[best] <= TOLERANCE * np.abs(wanted).max():
        raise hidden_differs(graph, block, index)
    return best


def hidden_differs(graph: Graph, block: Block, index: int) -> HwgenError:
    """The error for another activation."""
    expected = f"the values of layers.{index}.hidden in a ViT with these weights"
    return differs(graph, graph.made_by(block.fc2.data), expected)
