"""Where the blocks of a residual stream that waits in DRAM are while they are on chip: two take turns.

Tested by tests/compiler/test_spill.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import TYPE_CHECKING

from hwgen.compiler.areas import Area, Span
from hwgen.compiler.blocks import spans
from hwgen.machine.params import ALIGN

if TYPE_CHECKING:
    from hwgen.compiler.layout import Layout

__all__ = ["lines_of", "needs", "norm_groups", "norm_slot", "patches_of", "slot"]


def slot(layout: Layout, number: int, first: int, words: int) -> Area:
    """Of a visit: a block that begins with row `first`, or its outputs, rows of so many C-words."""
    return Area("X", number % 2 * _slot_words(layout) - first * words, words)


def _slot_words(layout: Layout) -> int:
    model, size = layout.desc.model, layout.blocks.stream
    assert size
    outputs = [min(size, model.output_shape(task)[0]) * layout.words(task.outputs)
               for task in model.tasks if task.outputs is not None]  # fmt: skip
    return max([size * layout.dim_words, *outputs])


def norm_groups(layout: Layout) -> int:
    """Groups of rows whose norms are on chip: of two blocks, or all."""
    return 2 * -(-layout.blocks.stream // layout.p.t) if layout.blocks.stream else layout.groups


def norm_slot(layout: Layout, number: int, first: int) -> Area:
    """Norms of a visit's block that begins with row `first`."""
    groups = number % 2 * norm_groups(layout) // 2 - first // layout.p.t
    return layout.banked("Y", layout.dim_stride, groups * layout.dim_stride)


def lines_of(layout: Layout, rows: Span) -> Span:
    """The lines of patches that hold them, and those around that IMAGE reads with them."""
    model = layout.desc.model
    per_line, lines = model.image.width // model.patch.width, model.image.height // model.patch.height
    aligned = ALIGN // gcd(ALIGN, model.patch.height * model.image.width * model.image.channels)
    first, last = (max(0, row - model.prefix) // per_line // aligned * aligned for row in (rows[0], rows[1] - 1))
    return first, min(last + aligned, lines)


def patches_of(layout: Layout, lines: Span) -> tuple[Area, Span]:
    """Where the patches of some lines of the only image are, and which rows they are."""
    model = layout.desc.model
    per_line, stride = model.image.width // model.patch.width, layout.stride(model.patch_size)
    begin, end = (model.prefix + line * per_line for line in lines)
    return layout.banked("Y", stride, -(begin // layout.p.t) * stride), (begin, end)


def needs(layout: Layout) -> Iterator[tuple[str, int, str]]:
    """(field of HwParams, least value, what needs it)."""
    yield "x_depth", 2 * _slot_words(layout), "two blocks of the residual stream"
    for block in spans(layout.rows, layout.blocks.stream or layout.rows):
        area, rows = patches_of(layout, lines_of(layout, block))
        yield "y_depth", area.at(rows[1] - 1) + area.stride, "patches"
    if any(task.head in ("mean", "mean_norm") for task in layout.desc.model.tasks):
        yield "y_depth", layout.groups * layout.dim_stride, "norms of all tokens"
