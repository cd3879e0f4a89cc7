"""How a network larger than its buffers is cut: heads in groups, rows of an MLP in blocks.

The queries, keys and values of a group of heads are made and attended to before those of the next one, in the same
place; a block of rows passes fc1 and fc2 before the next one does, a block of tokens all experts. Where that is not
enough the residual stream waits in DRAM: a block of its rows comes, passes all that is done row by row, and goes back.
Bits are the same: nothing of it changes what is computed. Weights that do not stay in the ring are read once per block.

Tested by tests/compiler/test_blocks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from hwgen.machine.params import ALIGN, HwParams
from hwgen.network.description import Description

__all__ = ["PARTS", "Blocks", "even", "spans", "spill_unit", "spillable"]

#: Row tiles of a block, of an MLP or of what an expert gets on average, that hide the fetching of its weights well: so
#: many times those in which as many come as are used.
AMPLE = 4
#: Parts of a block of the stream that pass an MLP one after another: the fewest that do.
PARTS = (1, 2)
#: Of a block of the stream, at least: rows of a head's outputs begin anywhere in the first.
LEAST_UNITS = 2


@dataclass(frozen=True)
class Blocks:
    """`heads` of a group; `rows` of an MLP's block, `tokens` of a mixture of experts': multiples of T, or all.
    `stream`: rows of a block of the residual stream, two of which are on chip, and of the others; None: all are."""

    heads: int
    rows: int
    tokens: int
    stream: int | None = None

    @classmethod
    def whole(cls, desc: Description, batch: int) -> Blocks:
        """Nothing is cut."""
        rows = batch * desc.model.tokens
        return cls(desc.model.heads, rows, rows)

    @classmethod
    def least(cls, desc: Description, p: HwParams, batch: int) -> Blocks:
        """All is cut as small as may be."""
        whole = cls.whole(desc, batch)
        rows = min(p.t, whole.rows)
        return cls(whole.heads if desc.model.qk_norm else 1, rows, rows)

    @classmethod
    def ample(cls, desc: Description, p: HwParams, batch: int) -> Blocks:
        """As small as they may be without weights coming slower than they are used."""
        least, whole = cls.least(desc, p, batch), cls.whole(desc, batch)
        rows = AMPLE * p.t * max(1, 8 * p.ring_bytes // p.weight_bus)
        routed = [-(-layer.mlp.experts // layer.mlp.top_k) for layer in desc.model.layers if layer.mlp.kind == "moe"]
        return cls(least.heads, min(rows, whole.rows), min(max(routed, default=1) * rows, whole.tokens))

    @classmethod
    def spilled(cls, desc: Description, p: HwParams, batch: int, rows: int, parts: int = 1) -> Blocks:
        """The residual stream in DRAM, in even blocks of so many rows at most, each in `parts` for an MLP."""
        unit = spill_unit(p)
        size = even(batch * desc.model.tokens, max(rows // unit, LEAST_UNITS) * unit, unit)
        return cls(cls._hiding(desc, p), -(-size // parts // p.t) * p.t, size, size)

    @classmethod
    def _hiding(cls, desc: Description, p: HwParams) -> int:
        """Heads of a group whose queries, keys and values take longer than their rows to come."""
        model = desc.model
        needed = ceil(2 * 8 * p.macs / (3 * model.head_dim * p.data_bus))
        return min((size for size in cls.groups(desc) if size >= needed), default=model.heads)

    @classmethod
    def groups(cls, desc: Description) -> Iterator[int]:
        """Sizes of groups of heads, from all of them down: each with fewer heads left over than in a group."""
        heads, seen = desc.model.heads, 0
        for count in range(1, 2 if desc.model.qk_norm else heads + 1):
            size = -(-heads // count)
            if size != seen:
                seen = size
                yield size

    def text(self, desc: Description, batch: int) -> str:
        """For people."""
        whole = Blocks.whole(desc, batch)
        if self == whole:
            return "none: all tensors are on chip as a whole"
        parts = [f"{self.heads} of {whole.heads} heads"] * (self.heads < whole.heads)
        parts += [f"{self.rows} of {whole.rows} rows of an MLP"] * (self.rows < whole.rows)
        parts += [f"{self.tokens} of {whole.tokens} tokens for the experts"] * (self.tokens < whole.tokens)
        if self.stream:
            parts = parts[: self.heads < whole.heads]
            parts += [f"{self.stream} of {whole.rows} rows of the residual stream, which waits in DRAM,"]
        return ", ".join(parts) + " at a time"

    def heads_of(self, heads: int) -> list[range]:
        """The groups."""
        return [range(first, min(first + self.heads, heads)) for first in range(0, heads, self.heads)]


def spill_unit(p: HwParams) -> int:
    """Blocks of the stream begin at multiples of so many rows: of row tiles, and of what DRAM addresses are."""
    return max(p.t, ALIGN // (2 * p.c))


def spillable(desc: Description, p: HwParams, batch: int) -> str:
    """Why the residual stream cannot wait in DRAM, or an empty string."""
    model = desc.model
    reasons = {
        "more than one image": batch > 1, "normalised q and k": model.qk_norm, "norms behind": model.post_norm,
        "a norm before the layers": model.norm_pre, "attention pooling": any(t.head == "map" for t in model.tasks),
        "few tokens": model.tokens <= LEAST_UNITS * spill_unit(p),
    }  # fmt: skip
    return ", ".join(reason for reason, given in reasons.items() if given)


def even(total: int, size: int, t: int) -> int:
    """Rows of a block, `size` at most, so that there are no more blocks than need be and the last one is no smaller
    than it has to be: its weights cost as much as the others'."""
    return min(size, -(-total // -(-total // size) // t) * t)


def spans(total: int, size: int) -> list[tuple[int, int]]:
    """Blocks of so many rows, the last one with what is left."""
    return [(first, min(first + size, total)) for first in range(0, total, size)]
