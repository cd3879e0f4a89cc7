"""The engine's instructions, MATMUL and ATTENTION: fields, and in which step they read and finish what.

Tested by tests/sim/test_isa_model.py.
"""

from __future__ import annotations

from hwgen.compiler.areas import Access, Area, Span
from hwgen.compiler.layout import Layout, div_up
from hwgen.compiler.ring import Matrix
from hwgen.compiler.units import ACTIVATION, QUEUES, READS_Y, WRITES_Y, Draft
from hwgen.machine.isa import ADDRESSES, Dest, Op

__all__ = ["SCORES", "attention", "matmul"]

#: The port by which a gated activation reads H is that of the array's operands: these come when the last row is read.
H_PORT = Access(Area("H PORT"), (0, 1), (0, 1), [0], [0])

#: Rows: the halves of the score buffer.
SCORES = Area("SCORE")


def matmul(
    layout: Layout, matrix: Matrix, name: str, source: Area, dest: Dest, target: Area, rows: Span | None,
    expert: int | None, words: Span = (0, 0), tokens: Span | None = None, **fields: int,
) -> Draft:
    """`source` times the matrix to `target`: of `rows`, or of the expert's queue. `words`: the first C-words in rows of
    both. `tokens`: those that may be in the queue, by default all. `fields`: the others."""
    p, k_steps, tiles = layout.p, matrix.k_steps, matrix.tiles
    begin, end = rows or (0, 0)
    routed = tokens or (0, layout.rows)
    reach = rows or (0, layout.blocks.tokens)  # of a queue
    # Of a queue's rows nothing is known: the times of a single row tile are the least.
    row_tiles = div_up(end, p.t) - begin // p.t if rows else 1
    tile_of = [row // p.t - begin // p.t if rows else 0 for row in range(*reach)]
    count, (first, target_first) = div_up(k_steps * p.k, p.c), words
    read = Access(
        source, reach, (first, first + count), [tile * k_steps for tile in tile_of],
        [word * p.c // p.k for word in range(count)],
    )  # fmt: skip
    left = [(tiles - 1 - word) * row_tiles * k_steps for word in range(tiles)]
    filled = target_first, target_first + tiles
    if fields.get("scatter"):
        write = Access(target, routed, (0, tiles), [0] * (routed[1] - routed[0]), left)
    else:
        write = Access(target, reach, filled, [(row_tiles - 1 - tile) * k_steps for tile in tile_of], left)
    fields |= {
        "dest": dest, "source": source.source, "a_base": source.at(begin) + first // source.parts,
        "a_stride": source.stride, "row_begin": begin, "row_end": end, "k_steps": k_steps, "tiles": tiles,
    }  # fmt: skip
    if expert is not None:
        fields |= {"use_queue": 1, "expert": expert}
    if dest != Dest.LOGITS:
        fields |= {"d_base": target.base % ADDRESSES, "d_stride": target.stride}
    if target_first:
        fields["d_word"] = target_first
    reads = [read] if expert is None else [read, QUEUES]
    writes = [write]
    if source.buffer == "H":
        reads.append(H_PORT)
    if fields.get("activate"):
        reads.append(Access(ACTIVATION, (0, 1), (0, 1)))
    if fields.get("gated"):
        ends = [tile * k_steps for tile in tile_of]
        reads.append(Access(target, reach, filled, ends, [(word * row_tiles + 1) * k_steps for word in range(tiles)]))
        writes.append(H_PORT)
    return Draft(
        Op.MATMUL, name, fields, reads=tuple(reads), writes=tuple(writes),
        ports=READS_Y if source.buffer == "Y" else frozenset(), steps=tiles * row_tiles * k_steps, expert=expert,
    )  # fmt: skip


def attention(
    layout: Layout, name: str, image: int, head: int, first_half: int, skip: int = 0, **fields: int
) -> Draft:
    """One head of one image: queries, keys and values to context. `first_half`: of the score buffer, for the first
    query tile. `skip`: first tokens left out. `fields`: multipliers and shifts."""
    p, model = layout.p, layout.desc.model
    q, k, v, context = layout.q, layout.k, layout.v, layout.context
    rows = begin, end = image * model.tokens + skip, (image + 1) * model.tokens
    first = begin // p.word * p.word  # of the keys
    place = head % layout.blocks.heads * layout.head_pitch  # in its group
    word, tile, context_tile = place // p.word, place // p.c, head * layout.head_pitch // p.c
    k_steps, tiles = div_up(model.head_dim, p.k), layout.words(model.head_dim)
    key_tiles, pv_steps = div_up(end - first, p.c), div_up(end - first, p.k)

    # The scores of a query tile come before the context of the one in front of it.
    count, score_steps, context_steps = div_up(end, p.t) - begin // p.t, key_tiles * k_steps, tiles * pv_steps
    steps = count * (score_steps + context_steps)
    score_start = [number * score_steps + max(number - 1, 0) * context_steps for number in range(count)]
    context_start = [min(number + 2, count) * score_steps + number * context_steps for number in range(count)]
    query_of = [row // p.t - begin // p.t for row in range(*rows)]
    inputs = [number * p.c // p.k for number in range(div_up(k_steps * p.k, p.c))]
    operands, values, results = ((first_tile, first_tile + count) for first_tile, count in (
        (tile, len(inputs)), (tile, tiles), (context_tile, tiles)))  # fmt: skip
    # Of each half: steps from the first query tile's first scores to the last.
    halves = {(first_half + number) % 2: steps - score_start[number] - k_steps for number in range(min(count, 2))}
    reads = (
        Access(q, rows, operands, [score_start[number] for number in query_of], inputs),
        Access(k, rows, operands, [(row - first) // p.c * k_steps for row in range(*rows)], inputs),
        Access(v, rows, values, [context_start[0] + (row - first) // p.k for row in range(*rows)],
               [number * pv_steps for number in range(tiles)]),
        H_PORT,
    )  # fmt: skip
    writes = (
        Access(context, rows, results, [steps - context_start[number] for number in query_of],
               [-(number + 1) * pv_steps for number in range(tiles)]),
        *(Access(SCORES, (half, half + 1), (0, 1), [steps], [0]) for half, steps in halves.items()),
    )  # fmt: skip
    fields |= {
        "a_base": q.at(begin) + word, "a_stride": q.stride, "row_begin": begin, "row_end": end, "k_steps": k_steps,
        "tiles": tiles, "d_base": context.base, "d_stride": context.stride, "d_word": context_tile,
        "k_base": k.at(first) + word, "k_stride": k.stride, "v_base": v.at(first) + tile, "v_stride": v.stride,
        "key_tiles": key_tiles, "pv_steps": pv_steps,
    }  # fmt: skip
    return Draft(Op.ATTENTION, name, fields, reads=reads, writes=writes, ports=WRITES_Y, steps=steps,
                 turns=(score_steps, context_steps))
