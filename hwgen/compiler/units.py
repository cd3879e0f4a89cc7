"""The instructions of the units beside the engine: fields, and what they read and write.

Tested by tests/sim/test_isa_model.py.
"""

from __future__ import annotations

from amaranth.utils import ceil_log2

from hwgen.compiler.areas import Access, Area, Span
from hwgen.compiler.layout import Layout
from hwgen.compiler.order import Work
from hwgen.machine import isa
from hwgen.machine.isa import Dest, Op

__all__ = [
    "ACTIVATION", "QUEUES", "READS_Y", "WRITES_Y", "Draft", "gather", "head_norm", "load_activation", "load_norm",
    "load_x", "mean", "norm", "patches", "route", "store",
]  # fmt: skip

UNIT_OF = {op: unit for unit, ops in isa.UNITS.items() for op in ops}
#: Ports of Y and X that units do not share; the engine, and only it, goes first at X.
WRITES_Y, READS_Y, READS_X = (frozenset([port]) for port in ("row writes of Y", "row reads of Y", "reads of X"))
#: The router's queues; the LayerNorm unit's parameter table, whose rows are its halves.
QUEUES, TABLE = Access(Area("QUEUE"), (0, 1), (0, 1)), Area("TABLE")
#: The table of the activation function, behind the array.
ACTIVATION = Area("ACTIVATION")


class Draft:
    """An instruction but for its ORDER fields, and what these follow from."""

    def __init__(
        self, op: Op, name: str, fields: dict[str, int], *, reads: tuple[Access, ...] = (),
        writes: tuple[Access, ...] = (), ports: frozenset[str] = frozenset(), alone: bool = False, steps: int = 0,
        turns: tuple[int, int] | None = None, expert: int | None = None,
    ) -> None:  # fmt: skip
        self.op, self.name, self.fields = op, name, {key: int(value) for key, value in fields.items()}
        self.work = Work(
            unit=UNIT_OF[op], reads=reads, writes=writes, ports=ports, alone=alone, steps=steps, turns=turns,
            expert=expert,
        )


def patches(layout: Layout, area: Area, number: int, lines: Span, shift: int) -> Draft:
    """Lines of patches of an image: raster to Y. shift: a row in front of them whose group begins with it."""
    model = layout.desc.model
    image = model.image
    row_bytes = model.patch.height * image.width * image.channels
    per_row = image.width // model.patch.width
    begin = number * model.tokens + model.prefix
    rows = begin + lines[0] * per_row, begin + lines[1] * per_row
    fields = {
        "offset": number * layout.image_stride + lines[0] * row_bytes, "bytes": (lines[1] - lines[0]) * row_bytes,
        "a_stride": model.patch.height, "row_begin": rows[0] - shift, "k_steps": model.patch.width * image.channels,
        "tiles": per_row, "d_base": area.at(shift), "d_stride": area.stride,
    }  # fmt: skip
    write = Access(area, rows, (0, layout.words(model.patch_size)))
    return Draft(Op.IMAGE, "patches", fields, writes=(write,), ports=WRITES_Y)


def load_x(layout: Layout, name: str, x: Area, rows: Span, **block: int) -> Draft:
    """Rows of the residual stream to where they are in X. `block`: offset, bytes, and whether they were `spilled`."""
    write = Access(x, rows, (0, layout.dim_words))
    return Draft(Op.LOAD, name, block | {"dest": Dest.X, "d_base": x.at(rows[0])}, writes=(write,))


def load_norm(layout: Layout, name: str, half: int, **block: int) -> Draft:
    """A norm's parameters to a half of the table."""
    base = 4 * half << ceil_log2(layout.p.norm_depth)
    write = Access(TABLE, (half, half + 1), (0, 1))
    return Draft(Op.LOAD, name, block | {"dest": Dest.NORM, "d_base": base}, writes=(write,))


def load_activation(kind: str, **block: int) -> Draft:
    """An activation's table."""
    write = Access(ACTIVATION, (0, 1), (0, 1))
    return Draft(Op.LOAD, f"table of {kind}", block | {"dest": Dest.ACTIVATION}, writes=(write,))


def norm(
    layout: Layout, name: str, x: Area, y: Area, rows: Span, x_row: int, half: int, **fields: int
) -> Draft:  # fmt: skip
    """Rows of `x`, an area of X, from `x_row` on to `rows` of `y`. `fields`: how."""
    words = 0, layout.dim_words
    fields |= {
        "a_base": x.at(x_row), "row_begin": rows[0], "row_end": rows[1], "d_base": y.base % isa.ADDRESSES,
        "dim": layout.desc.model.dim,
    }  # fmt: skip
    read = Access(x, (x_row, x_row + rows[1] - rows[0]), words)
    return _norm(name, read, Access(y, rows, words), half, fields)


def head_norm(layout: Layout, name: str, target: Area, head: int, half: int, **fields: int) -> Draft:
    """A head of all rows of what is in front of its norm. `fields`: how."""
    x, rows, words, place = layout.raw, (0, layout.rows), layout.raw_words, head * layout.head_pitch // layout.p.c
    fields |= {
        "a_base": x.base + head * words, "row_end": layout.rows, "d_base": target.base + place // target.parts,
        "dim": layout.desc.model.head_dim,
    }  # fmt: skip
    read = Access(x, rows, (head * words, (head + 1) * words))
    return _norm(name, read, Access(target, rows, (place, place + words)), half, fields)


def _norm(name: str, read: Access, write: Access, half: int, fields: dict[str, int]) -> Draft:
    fields |= {
        "table": half, "a_stride": read.area.stride, "tiles": read.words[1] - read.words[0],
        "d_stride": write.area.stride,
    }  # fmt: skip
    reads = read, Access(TABLE, (half, half + 1), (0, 1))
    return Draft(Op.NORM, name, fields, reads=reads, writes=(write,), ports=WRITES_Y | READS_X)


def route(layout: Layout, name: str, rows: Span, experts: int, **fields: int) -> Draft:
    """Logits of `rows` to the experts' queues."""
    fields |= {"row_begin": rows[0], "row_end": rows[1], "tiles": experts}
    logits = Access(layout.logits, rows, (0, layout.words(experts)))
    return Draft(Op.ROUTE, name, fields, reads=(logits, QUEUES), writes=(QUEUES,))


def gather(layout: Layout, name: str, y: Area, expert: int, tokens: Span) -> Draft:
    """The rows of `y` of an expert's queue, some of these `tokens`, to its gathered rows."""
    h, words = layout.gathered(expert), (0, layout.dim_words)
    fields = {
        "expert": expert, "use_queue": 1, "a_base": y.base % isa.ADDRESSES, "a_stride": y.stride,
        "tiles": layout.dim_words, "d_base": h.base, "d_stride": h.stride,
    }  # fmt: skip
    read, write = Access(y, tokens, words), Access(h, (0, layout.blocks.tokens), words)
    return Draft(Op.GATHER, name, fields, reads=(read, QUEUES), writes=(write,), ports=READS_Y)


def mean(layout: Layout, name: str, rows: Span, image: int, **fields: int) -> Draft:
    """The mean of `rows` of the norm area. `fields`: multiplier and shift."""
    y, h, words = layout.norm, layout.mean(image), (0, layout.dim_words)
    fields |= {
        "a_base": y.at(rows[0]), "a_stride": y.stride, "row_begin": rows[0], "row_end": rows[1],
        "tiles": layout.dim_words, "d_base": h.base, "d_stride": h.stride,
    }  # fmt: skip
    return Draft(Op.MEAN, name, fields, reads=(Access(y, rows, words),), writes=(Access(h, (0, 1), words),),
                 ports=READS_Y)


def store(layout: Layout, name: str, area: Area, rows: Span, words: int, offset: int = 0) -> Draft:
    """Rows of an area to the output region. It shares the ports of Y with nobody, and those of X with the engine only
    if it must do so (`spill`)."""
    fields = {
        "source": area.source, "offset": offset, "bytes": 2 * layout.p.c * words * (rows[1] - rows[0]),
        "a_base": area.at(rows[0]), "a_stride": area.stride, "row_begin": rows[0], "row_end": rows[1], "tiles": words,
    }  # fmt: skip
    return Draft(Op.STORE, name, fields, reads=(Access(area, rows, (0, words)),), ports=READS_X,
                 alone=area.buffer != "X" or not layout.p.spill)
