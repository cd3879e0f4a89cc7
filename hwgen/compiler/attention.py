"""Attention: queries, keys, values, heads, projection. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwgen.compiler import engine
from hwgen.compiler.areas import Access, Area
from hwgen.compiler.builder import Builder
from hwgen.compiler.layout import div_up
from hwgen.compiler.residual import update
from hwgen.compiler.ring import Made, Matrix
from hwgen.machine.isa import Dest

__all__ = ["Part", "attend", "attend_group", "attention", "head_range", "keys_of", "projection"]

#: Heads of q that are copied before the first of k is normalised, which has to wait for the last projection.
AHEAD = 2


def attention(b: Builder, layer: int, activation: str) -> None:
    """The attention of a layer; its projection is left for the next norm. What the layer's MLP needs of the table
    of its `activation` is loaded beside."""
    name, layout, proj = f"layers.{layer}", b.layout, projection(b, layer)
    for group in layout.blocks.heads_of(b.model.heads):
        if b.model.qk_norm:
            _normalised(b, name, activation)
        else:
            _project(b, name, group, activation)
        for image in range(layout.batch):
            attend_group(b, name, image, group)
    update(b, layer, 1, proj, layout.context)


def projection(b: Builder, layer: int) -> Matrix:
    """Of the context of a layer."""
    layout = b.layout
    return b.matrix(f"layers.{layer}.attn.proj", inputs=(layout.head_channels, layout.attn_used))


def attend_group(b: Builder, name: str, image: int, group: range) -> None:
    """Heads of an image whose queries, keys and values are there."""
    for head in group:
        _head(b, name, image, head)


def _project(b: Builder, name: str, group: range, activation: str) -> None:
    """q, k and v of a group of heads, of the first one behind the norm."""
    parts = [Part(b, f"{name}.attn", name, part, group) for part in "qkv"]
    if group[0] == 0:
        b.norm(parts[0].matrix, parts.pop(0))
        b.load_activation(activation)
    for part in parts:
        part(*b.all, True)


class Part:
    """Emits q, k or v of a block of rows and a group of heads, by `weights`.q, .k or .v; `raw`: as int16, in front of a
    norm."""

    def __init__(
        self, b: Builder, weights: str, name: str, part: str, group: range, raw: bool = False
    ) -> None:
        layout, model = b.layout, b.model
        self.b, self.tensor, self.column = b, f"{name}.{part}" + "_proj" * raw, group[0] * model.head_dim
        self.dest, self.area = {
            "q": (Dest.H, layout.q), "k": (Dest.K, layout.k), "v": (Dest.V, layout.v),
        }[part] if not raw else (Dest.X, layout.raw)  # fmt: skip
        self.channels = layout.raw_channels if raw else layout.channels_of(group)
        width = layout.used(len(group)) if part == "v" else len(group) * layout.head_pitch
        some = range(self.column, self.column + len(self.channels))
        self.matrix = b.matrix(
            f"{weights}.{part}", outputs=(self.channels, layout.raw.stride * b.p.c if raw else width),
            window=None if len(group) == model.heads else tuple(some),
        )  # fmt: skip

    def __call__(self, begin: int, end: int, last: bool) -> None:
        rows = begin, end
        self.b.matmul(self.matrix, self.tensor, self.b.y, self.dest, self.area, rows, last=last)
        self.b.probe(self.tensor, self.area, rows, self.channels, column=self.column)


def _normalised(b: Builder, name: str, activation: str) -> None:
    """q and k by way of X and, head by head, the LayerNorm unit; copies bring them from Y to where attention reads.

    The unit works on q beside the projections of v and k, on k beside the copies of q.
    """
    layout, model = b.layout, b.model
    copy = Made(b.desc, b.p, f"copy of {model.head_dim} channels", (range(model.head_dim), layout.head_pitch),
                weight=np.eye(model.head_dim, dtype=np.int8), bias=np.zeros(model.head_dim, np.int32))  # fmt: skip

    def copies(part: str, source: Area, dest: Dest, target: Area) -> Iterator[None]:
        for head in range(model.heads):
            word, last = head * layout.head_pitch // b.p.c, part == "k" and head == model.heads - 1
            b.matmul(copy, f"{name}.{part} head {head}", source, dest, target, b.all, last=last, words=(word, word))
            b.probe(f"{name}.{part}", target, b.all, head_range(b, head), column=head * model.head_dim)
            yield

    weights, heads = f"{name}.attn", range(model.heads)
    q = Part(b, weights, name, "q", heads, raw=True)
    b.norm(q.matrix, q)
    Part(b, weights, name, "v", heads)(*b.all, True)
    for _ in b.head_norms(layout.context):
        pass
    Part(b, weights, name, "k", heads, raw=True)(*b.all, True)
    queries, keys = copies("q", layout.context, Dest.H, layout.q), copies("k", layout.normed_keys, Dest.K, layout.k)
    norms = b.head_norms(layout.normed_keys)
    # Keys wider than the norms reach into the queries.
    ahead = AHEAD if layout.attn_stride <= layout.dim_stride else model.heads
    for step in range(model.heads + ahead + 1):
        if step < model.heads:
            next(queries)
        if ahead <= step < model.heads + ahead:
            next(norms)
            b.load_activation(activation)  # behind the next norm's parameters, which it would hold up
        if step > ahead:
            next(keys)


def attend(b: Builder, weights: str, name: str, image: int, head: int, skip: int = 0) -> tuple[range, int]:
    """The instruction for a head of an image, but for its first tokens; its query tiles, and the half of the score
    buffer the first of them takes."""
    model, layout, t = b.model, b.layout, b.p.t
    score, context = f"{weights}.score", f"{weights}.context"
    instruction = f"{name}.context head {head}" + f" of image {image}" * (layout.batch > 1)
    begin, end = image * model.tokens + skip, (image + 1) * model.tokens
    tiles = range(begin // t, div_up(end, t))
    first_half = b.query_tiles % 2
    b.query_tiles += len(tiles)
    b.emit(engine.attention(
        layout, instruction, image, head, first_half, skip,
        score_mult=b.value(f"{score}.mult"), score_shift=b.value(f"{score}.shift"),
        out_mult=b.value(f"{context}.mult"), out_shift=b.value(f"{context}.shift"),
    ))  # fmt: skip
    return tiles, first_half


def keys_of(b: Builder, image: int, skip: int = 0) -> list[int]:
    """Where the scores of an image's keys lie in a row of the buffer: the words of the halves alternate."""
    tokens, word = b.model.tokens, b.p.word
    first = (image * tokens + skip) % word
    return [key // word * 2 * word + key % word for key in range(first, first + tokens - skip)]


def head_range(b: Builder, head: int) -> range:
    """Channels of a head in Y."""
    first = head * b.layout.head_pitch
    return range(first, first + b.model.head_dim)


def _head(b: Builder, name: str, image: int, head: int) -> None:
    model, layout, t = b.model, b.layout, b.p.t
    begin, end = image * model.tokens, (image + 1) * model.tokens
    tiles, first_half = attend(b, f"{name}.attn", name, image, head)
    b.probe(f"{name}.context", layout.context, (begin, end), head_range(b, head), column=head * model.head_dim)
    # The last two query tiles: the scores of earlier ones were overwritten.
    keys = keys_of(b, image)
    for tile in tiles[-2:]:
        half, rows = (first_half + tile - tiles[0]) % 2, (max(tile * t, begin), min((tile + 1) * t, end))
        b.probe(f"{name}.score", Area("SCORE", half, 0), rows, keys, head=head,
                access=Access(engine.SCORES, (half, half + 1), (0, 1)))
