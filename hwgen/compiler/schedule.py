"""Row blocks: how work is cut so that units can run side by side, and in which order the blocks are emitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwgen.compiler.areas import Span
from hwgen.compiler.layout import div_up

__all__ = ["Emit", "Stage", "growing_blocks", "in_two", "pipeline", "row_blocks"]

#: Row tiles of a block, unless there are more than BLOCKS times as many: few instructions, but units behind the engine
#: wait for a whole block.
BLOCK_TILES, BLOCKS = 4, 11
#: Of a norm that takes longer than what uses it: its latency counts, so no more blocks than these and the first.
NORM_BLOCKS = 5

#: Emits a block: first row, row after the last, whether it is the last block.
Emit = Callable[[int, int, bool], None]


@dataclass(frozen=True)
class Stage:
    """Work on all rows, block by block.

    source: the stage whose results this one reads. `source_rows` tells up to which row of it, from the row after a
            block's last.
    behind: so many blocks of the source are emitted between the last one read and the block that reads it. While the
            dispatcher waits for that one, the machine has these to work on.
    """

    blocks: list[Span]
    emit: Emit
    source: Stage | None = None
    behind: int = 1
    source_rows: Callable[[int], int] = lambda end: end


def pipeline(*stages: Stage) -> None:
    """Emits the blocks of all stages, in turn one of each, in the order of the arguments. A stage ends behind its
    source, so that weights leave the ring in the order in which they came."""
    emitted = {id(stage): 0 for stage in stages}

    def ready(stage: Stage) -> bool:
        number, source = emitted[id(stage)], stage.source
        if number == len(stage.blocks):
            return False
        if source is None or emitted[id(source)] == len(source.blocks):
            return True
        if number == len(stage.blocks) - 1:
            return False
        readable = source.blocks[: max(0, emitted[id(source)] - stage.behind)]
        return any(end >= stage.source_rows(stage.blocks[number][1]) for _, end in readable)

    while any(emitted[id(stage)] < len(stage.blocks) for stage in stages):
        for stage in stages:
            if ready(stage):
                begin, end = stage.blocks[emitted[id(stage)]]
                emitted[id(stage)] += 1
                stage.emit(begin, end, emitted[id(stage)] == len(stage.blocks))


def row_blocks(rows: Span, t: int, least: int) -> list[Span]:
    """For what other stages follow: equal blocks; at the end smaller ones, of `least` row tiles, so that little is left
    to do behind them."""
    left = div_up(rows[1] - rows[0], t)
    size = max(BLOCK_TILES, div_up(left, BLOCKS))
    sizes = []
    while left:
        sizes.append(min(size, max(least, div_up(left, 3)), left))
        left -= sizes[-1]
    return _spans(sizes, rows, t)


def growing_blocks(rows: Span, t: int, *, first: int, produce: int, consume: int, latency: int) -> list[Span]:
    """For a stage that nothing hides but the one behind it: `first` row tiles, then as many as that one's work covers.

    produce, consume: cycles of a row tile in this stage and in the next; latency: of a block in this stage.
    """
    left = div_up(rows[1] - rows[0], t)
    least = first if consume >= 2 * produce else max(first, div_up(left, NORM_BLOCKS))
    sizes = [min(first, left)]
    left -= sizes[0]
    while left:
        sizes.append(min(left, max(least, (sizes[-1] * consume - latency) // produce)))
        left -= sizes[-1]
    return _spans(sizes, rows, t)


def in_two(blocks: list[Span]) -> list[Span]:
    """For the stage behind: in one piece what is surely there when the last block is emitted, and the rest."""
    first = blocks[:-2]
    return [(first[0][0], first[-1][1]), (first[-1][1], blocks[-1][1])] if first else [(blocks[0][0], blocks[-1][1])]


def _spans(sizes: list[int], rows: Span, t: int) -> list[Span]:
    ends = [rows[0] + sum(sizes[: i + 1]) * t for i in range(len(sizes))]
    return [(end - size * t, min(end, rows[1])) for size, end in zip(sizes, ends, strict=True)]
