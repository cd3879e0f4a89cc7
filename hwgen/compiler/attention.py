"""Attention: queries, keys, values, heads, projection. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from hwgen.compiler import engine
from hwgen.compiler.areas import Access, Area
from hwgen.compiler.builder import Builder
from hwgen.compiler.layout import div_up
from hwgen.compiler.schedule import Emit
from hwgen.machine.isa import Dest

__all__ = ["attention"]


def attention(b: Builder, layer: int, activation: str) -> None:
    """The attention of a layer; its projection is left for the next norm. What the layer's MLP needs of the table
    of its `activation` is loaded beside."""
    name, layout = f"layers.{layer}", b.layout
    proj = b.matrix(f"{name}.attn.proj", inputs=(layout.head_channels, layout.attn_used))
    matrices = {
        part: b.matrix(f"{name}.attn.{part}", outputs=(layout.head_channels, channels))
        for part, channels in (("q", layout.attn_channels), ("k", layout.attn_channels), ("v", layout.attn_used))
    }

    def linear(part: str, dest: Dest, area: Area) -> Emit:
        def emit(begin: int, end: int, last: bool) -> None:
            b.matmul(matrices[part], f"{name}.{part}", layout.norm, dest, area, (begin, end), last=last)
            b.probe(f"{name}.{part}", area, (begin, end), layout.head_channels)

        return emit

    def project(begin: int, end: int, last: bool) -> None:
        b.matmul(proj, f"{name}.attn", layout.context, Dest.X_ADD, b.x, (begin, end), last=last,
                 fields=b.adding(2 * layer))
        b.probe(f"{name}.attn", b.x, (begin, end), b.dim)

    b.norm(matrices["q"], linear("q", Dest.H, layout.q))
    b.load_activation(activation)
    linear("k", Dest.K, layout.k)(*b.all, True)
    linear("v", Dest.V, layout.v)(*b.all, True)
    for image in range(layout.batch):
        for head in range(b.model.heads):
            _head(b, name, image, head)
    b.adds(proj, project)


def _head(b: Builder, name: str, image: int, head: int) -> None:
    model, layout, t, word = b.model, b.layout, b.p.t, b.p.word
    score, context = f"{name}.attn.score", f"{name}.attn.context"
    instruction = f"{name}.context head {head}" + f" of image {image}" * (layout.batch > 1)
    begin, end = image * model.tokens, (image + 1) * model.tokens
    tiles = range(begin // t, div_up(end, t))
    first_half = b.query_tiles % 2
    b.query_tiles += len(tiles)
    b.emit(engine.attention(
        layout, instruction, image, head, first_half,
        score_mult=b.value(f"{score}.mult"), score_shift=b.value(f"{score}.shift"),
        out_mult=b.value(f"{context}.mult"), out_shift=b.value(f"{context}.shift"),
    ))  # fmt: skip
    channels = range(head * layout.head_pitch, head * layout.head_pitch + model.head_dim)
    b.probe(f"{name}.context", layout.context, (begin, end), channels, column=head * model.head_dim)
    # The last two query tiles: the scores of earlier ones were overwritten. The words of the halves alternate.
    keys = [key // word * 2 * word + key % word for key in range(begin % word, begin % word + model.tokens)]
    for tile in tiles[-2:]:
        half, rows = (first_half + tile - tiles[0]) % 2, (max(tile * t, begin), min((tile + 1) * t, end))
        b.probe(f"{name}.score", Area("SCORE", half, 0), rows, keys, head=head,
                access=Access(engine.SCORES, (half, half + 1), (0, 1)))
