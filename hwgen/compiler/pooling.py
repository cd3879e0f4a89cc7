"""Attention pooling of a head: a constant query over the patches, projection, MLP.

The machine attends with as many queries as there are keys: all of them are the constant one, one is used.

Tested by tests/sim/test_isa_model.py.
"""

from __future__ import annotations

import numpy as np

from hwgen.compiler import engine
from hwgen.compiler.areas import Access, Area
from hwgen.compiler.attention import Part, attend, head_range, keys_of
from hwgen.compiler.builder import Builder
from hwgen.compiler.ring import Made
from hwgen.machine.isa import Dest
from hwgen.network.description import DenseMlp

__all__ = ["pool"]


def pool(b: Builder, mlp: DenseMlp) -> Area:
    """The final norm, and what is pooled: a row of X per image, in the place of its first patch."""
    name, layout, model = b.task.name, b.layout, b.model
    weights = f"tasks.{name}.map"
    for group in layout.blocks.heads_of(model.heads):
        keys, values = (Part(b, weights, name, part, group) for part in "kv")
        if group[0] == 0:
            b.norm(keys.matrix, keys, tensor=f"{name}.norm")
            b.load_activation(mlp.activation)
        else:
            keys(*b.all, True)
        values(*b.all, True)
        _query(b, weights, group)
        for image in range(layout.batch):
            for head in group:
                _head(b, weights, image, head)
    _project(b, weights)
    return _mlp(b, weights, mlp)


def _query(b: Builder, weights: str, group: range) -> None:
    """The constant one, of a group of heads, as query of every row."""
    name, layout, model, column = f"{b.task.name}.q", b.layout, b.model, group[0] * b.model.head_dim
    channels = layout.channels_of(group)
    query = b.desc.tensors[f"{weights}.q"][column : column + len(channels)].astype(np.int32)
    constant = Made(b.desc, b.p, f"{weights}.q from head {group[0]}", (channels, len(group) * layout.head_pitch),
                    weight=np.zeros((len(query), 1), np.int8), bias=query)  # fmt: skip
    b.matmul(constant, name, layout.norm, Dest.H, layout.q, b.all)
    for image in range(layout.batch):
        row = image * model.tokens + model.prefix
        b.probe(name, layout.q, (row, row + 1), channels, tensor_row=image, column=column)


def _head(b: Builder, weights: str, image: int, head: int) -> None:
    name, tokens, skip = b.task.name, b.model.tokens, b.model.prefix
    begin, end = image * tokens + skip, (image + 1) * tokens
    tiles, first_half = attend(b, weights, name, image, head, skip)
    b.probe(f"{name}.context", b.layout.context, (begin, begin + 1), head_range(b, head), tensor_row=image,
            column=head * b.model.head_dim)  # fmt: skip
    half = (first_half + len(tiles) - 1) % 2
    b.probe(f"{name}.score", Area("SCORE", half, 0), (end - 1, end), keys_of(b, image, skip), tensor_row=image,
            head=head, access=Access(engine.SCORES, (half, half + 1), (0, 1)))  # fmt: skip


def _project(b: Builder, weights: str) -> None:
    name, layout = f"{b.task.name}.proj", b.layout
    matrix = b.matrix(f"{weights}.proj", inputs=(layout.head_channels, layout.attn_used))
    for image in range(layout.batch):
        row = image * b.model.tokens + b.model.prefix
        b.matmul(matrix, name, layout.context, Dest.X, b.x, (row, row + 1), last=image == layout.batch - 1)
        b.probe(name, b.x, (row, row + 1), b.dim, tensor_row=image)


def _mlp(b: Builder, weights: str, mlp: DenseMlp) -> Area:
    name, layout, rows = b.task.name, b.layout, (0, b.layout.batch)
    hidden, pooled = layout.pooled_hidden(mlp), layout.pooled
    fc1, fc2 = (b.matrix(f"{weights}.mlp.{part}") for part in ("fc1", "fc2"))
    activation = b.activation(f"{weights}.mlp")

    def first(begin: int, end: int, last: bool) -> None:
        b.matmul(fc1, f"{name}.hidden", layout.norm, Dest.H, hidden, (begin, end), last=last, fields=activation)
        b.probe(f"{name}.hidden", hidden, (begin, end), range(mlp.hidden))

    b.norm(fc1, first, tensor=f"{name}.map_norm", tokens=b.patch, dense=True)
    b.matmul(fc2, f"{name}.mlp", hidden, Dest.X_ADD, pooled, rows)
    b.probe(f"{name}.mlp", pooled, rows, b.dim)
    return pooled
