"""Patch embedding: images are loaded in pieces while the engine works on earlier ones.

Tested by tests/sim/test_isa_model.py.
"""

from __future__ import annotations

from math import gcd

from hwgen.compiler import units
from hwgen.compiler.areas import Span
from hwgen.compiler.builder import Builder
from hwgen.compiler.layout import div_up
from hwgen.compiler.packing import Block, pack_rows
from hwgen.compiler.schedule import Stage
from hwgen.machine.isa import Dest
from hwgen.machine.params import ALIGN

__all__ = ["embed", "position_table"]

#: Pieces in which the first image and each of the others are loaded, if they have so many lines of patches: while the
#: first one comes, the engine waits.
PIECES, LATER_PIECES = 8, 2


def embed(b: Builder) -> None:
    """Position table and patches of all images, then the embedding: left for the first norm. With one in front of the
    layers: that, too, and what makes the residual stream of it."""
    model, layout, p = b.model, b.layout, b.p
    matrix = b.matrix("embed")
    keeps = b.ring.holds(matrix)
    pieces, position, row_bytes = _pieces(b), position_table(b), layout.stream_bytes
    step = ALIGN // gcd(ALIGN, row_bytes)  # LOADs begin at rows of the table that are multiples of this
    loaded = 0

    def first_patch(row: int) -> int:
        """`row`, or at the beginning of an image the one behind the tokens that are no patches."""
        return row + (model.prefix if row % model.tokens == 0 else 0)

    def load(begin: int, end: int, last: bool) -> None:
        nonlocal loaded
        image = begin // model.tokens
        origin = image * model.tokens
        upto = min(origin + div_up(end - origin, step) * step, origin + model.tokens)
        if upto > loaded:
            offset = position.offset + (loaded - origin) * row_bytes
            b.emit(units.load_x(layout, "position", b.x, (loaded, upto), offset=offset,
                                bytes=(upto - loaded) * row_bytes))
            loaded = upto
        b.emit(units.patches(layout, layout.patches(image), image, pieces[begin, end], layout.patch_row(image)))
        rows = first_patch(begin), end
        b.probe("patches", layout.patches(image), rows, range(model.patch_size))

    def multiply(begin: int, end: int, last: bool) -> None:
        area, rows = layout.patches(begin // model.tokens), (first_patch(begin), end)
        b.matmul(matrix, "embed", area, Dest.X_ADD, b.x, rows, last=last)
        b.probe("embed", b.x, (begin, end), b.dim)

    # Blocks of the embedding end with a row tile or an image; without a place in the ring only with an image.
    blocks: list[Span] = []
    done = 0
    for _, end in pieces:
        whole = end if end % model.tokens == 0 else end // p.t * p.t if keeps else 0
        if whole > first_patch(done):
            blocks.append((done, whole))
            done = whole
    loads = Stage(list(pieces), load)
    b.before, b.kept = [loads, Stage(blocks, multiply, loads)], [matrix] if keeps else []
    if model.norm_pre:
        _norm_pre(b)


def _norm_pre(b: Builder) -> None:
    stream = b.matrix("stream")

    def multiply(begin: int, end: int, last: bool) -> None:
        b.matmul(stream, "stream", b.layout.norm, Dest.X, b.x, (begin, end), last=last)
        b.probe("stream", b.x, (begin, end), b.dim)

    b.norm()
    b.adds(stream, multiply)


def position_table(b: Builder) -> Block:
    """Where it is in the program region."""
    return b.tables.add("position", lambda: pack_rows(b.p, b.desc.tensors["position"]))


def _pieces(b: Builder) -> dict[Span, Span]:
    """Rows of the residual stream, and the lines of patches of their image that they are."""
    model, p = b.model, b.p
    lines, per_line = model.image.height // model.patch.height, model.image.width // model.patch.width
    aligned = ALIGN // gcd(ALIGN, model.patch.height * model.image.width * model.image.channels)
    pieces = {}
    row = 0
    for image in range(b.layout.batch):
        size = max(div_up(lines, LATER_PIECES if image else PIECES), div_up(p.t, per_line))
        size = div_up(size, aligned) * aligned
        for begin in range(0, lines, size):
            end = min(begin + size, lines)
            behind = image * model.tokens + model.prefix + end * per_line
            pieces[row, behind] = begin, end
            row = behind
    return pieces
