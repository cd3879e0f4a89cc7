"""Between the image and the first block of an ONNX graph: normalisation, tokens before the patches, positions.

Tested by tests/importers/test_onnx.py.
"""

from __future__ import annotations

import numpy as np

from hwgen.common.strict_yaml import validate
from hwgen.importers.common import Normalize
from hwgen.importers.onnx_blocks import TOLERANCE, close
from hwgen.importers.onnx_graph import MEAN, STD, Graph
from hwgen.importers.onnx_layers import Layer, differs

#: Standard deviations above this are of pixels in codes 0..255, not in 0..1.
CODES = 2.0


def read_pixels(
    graph: Graph, conv: Layer
) -> tuple[Normalize | None, tuple[list[float], list[float]], list[str]]:
    """The normalisation inside the graph, in codes; that of the random image that it was fed, in codes; notes."""
    images = graph.images.astype(np.float64).transpose(0, 3, 1, 2)
    read = graph.values[conv.data].astype(np.float64)
    if read.shape != images.shape:
        raise differs(graph, conv.node, f"the image {list(images.shape)} at the patch embedding")
    means, stds = [], []
    for channel in range(images.shape[1]):
        codes, values = images[:, channel].ravel(), read[:, channel].ravel()
        factor, offset = np.polyfit(codes, values, 1)
        if np.abs(factor * codes + offset - values).max() > TOLERANCE * np.abs(values).max() or factor <= 0:
            raise differs(graph, conv.node, "an image at the patch embedding that is at most normalised")
        means.append(float(-offset / factor))
        stds.append(float(1 / factor))
    fed = (means, stds)
    if not graph.codes and np.allclose(means, MEAN, atol=1e-2) and np.allclose(stds, STD, rtol=1e-4):
        return None, fed, []
    # In the unit of the graph's own input.
    mean, std = (means, stds) if graph.codes else ([(m - MEAN) / STD for m in means], [s / STD for s in stds])
    unit = 1 if graph.codes or np.mean(std) > CODES else 255
    as_codes = {key: [float(f"{unit * one:.6g}") for one in values] for key, values in (("mean", mean), ("std", std))}
    normalize = validate(Normalize, as_codes, f"{graph.where}: normalisation inside the graph")
    shown = (",".join(f"{value / 255:.4g}" for value in values) for values in (normalize.mean, normalize.std))
    note = "normalisation inside the graph: mean {} std {}, of pixels ".format(*shown)
    return normalize, fed, [note + ("in 0..1" if unit == 255 else "in codes 0..255")]


def read_embedding(graph: Graph, conv: Layer, norm: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Tokens before the patches [1, count, D], and positions of all tokens or of the patches [1, N, D]; `norm` is what
    reads the sum."""
    batch, dim = len(graph.images), len(conv.weight)
    patches = graph.values[conv.output].reshape(batch, dim, -1).swapaxes(1, 2)
    tokens = graph.values[norm.data]
    prefix = tokens.size // (batch * dim) - patches.shape[1]
    if prefix < 0:
        raise differs(graph, norm.node, f"{patches.shape[1]} patches, and tokens in front of them")
    tokens = tokens.reshape(batch, -1, dim)
    front, position = _by_nodes(graph, conv, norm)
    rows = position.shape[1] - patches.shape[1]
    if front.shape[1] == prefix and rows in (0, prefix):
        wide = np.broadcast_to(front, (batch, prefix, dim))
        padded = np.pad(position, ((0, 0), (prefix - rows, 0), (0, 0)))
        if close(np.concatenate([wide, patches], 1) + padded, tokens):
            return front, position
    # By value: what is added to the patches must not depend on the image.
    added = tokens.astype(np.float64)
    added[:, prefix:] -= patches
    other = graph.run(255 - graph.images)
    again = other[norm.data].reshape(batch, -1, dim).astype(np.float64)
    again[:, prefix:] -= other[conv.output].reshape(batch, dim, -1).swapaxes(1, 2)
    if np.abs(added - again).max() > TOLERANCE * np.abs(tokens).max():
        raise differs(graph, graph.made_by(norm.data), "the values of embed in a ViT with these weights")
    return np.zeros((1, prefix, dim), np.float32), added[:1].astype(np.float32)


def token_names(front: np.ndarray, distilled: bool) -> dict[str, np.ndarray]:
    """The tokens before the patches [1, count, D] by timm's names: the first is what a head may read."""
    parts = {"cls_token": front[:, :1], "dist_token" if distilled else "reg_token": front[:, 1:]}
    return {name: rows for name, rows in parts.items() if rows.size}


def _by_nodes(graph: Graph, conv: Layer, norm: Layer) -> tuple[np.ndarray, np.ndarray]:
    """As the graph has them as constants: exact, where they are the only ones."""
    dim = len(conv.weight)
    front, position = (np.zeros((1, 0, dim), np.float32) for _ in range(2))
    first, last = graph.nodes.index(conv.node), graph.nodes.index(norm.node)
    for node in graph.nodes[first + 1 : last]:
        constants = [one for one in graph.constants(node) if one.ndim == 3 and one.shape[-1] == dim]
        if not graph.live.intersection(node.output) or not constants or node.output[0] == conv.output:
            continue
        if node.op_type == "Concat":
            front = np.concatenate(constants, 1)[:1]
        elif node.op_type == "Add":
            position = constants[0][:1]
    return front, position
