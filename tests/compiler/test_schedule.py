"""Row blocks cover all rows; stages are emitted in an order in which everything is there."""

import pytest

from hwgen.compiler.schedule import Stage, growing_blocks, in_two, pipeline, row_blocks


def sizes(blocks, t):
    assert all(begin % t == 0 for begin, _ in blocks)
    assert [end for _, end in blocks[:-1]] == [begin for begin, _ in blocks[1:]]
    return [-(-(end - begin) // t) for begin, end in blocks]


@pytest.mark.parametrize(
    "rows, least, expected",
    [(129, 1, [4, 4, 3, 2, 2, 1, 1]), (129, 2, [4, 4, 3, 2, 2, 2]), (5, 1, [1]), (9, 1, [1, 1]), (9, 2, [2]),
     (8 * 100, 1, [10, 10, 10, 10, 10, 10, 10, 10, 7, 5, 3, 2, 1, 1, 1])],
)  # fmt: skip
def test_row_blocks(rows, least, expected):
    blocks = row_blocks((16, 16 + rows), 8, least)
    assert sizes(blocks, 8) == expected
    assert (blocks[0][0], blocks[-1][1]) == (16, 16 + rows)


@pytest.mark.parametrize(
    "first, consume, expected",
    [(1, 288, [1, 2, 5, 9]), (4, 288, [4, 11, 2]), (1, 20, [1, 4, 4, 4, 4]), (30, 288, [17])],
)
def test_growing_blocks(first, consume, expected):
    """A norm of 96 cycles per row tile and 50: the next block is done while this one's queries are computed."""
    blocks = growing_blocks((16, 145), 8, first=first, produce=96, consume=consume, latency=50)
    assert sizes(blocks, 8) == expected
    assert (blocks[0][0], blocks[-1][1]) == (16, 145)


def test_in_two():
    assert in_two([(0, 32), (32, 64), (64, 72), (72, 80)]) == [(0, 64), (64, 80)]
    assert in_two([(0, 32), (32, 40)]) == [(0, 40)]
    assert in_two([(0, 32)]) == [(0, 32)]


def emitted(*stages):
    """Runs stages given as (name, blocks, name of the source, behind)."""
    order, made = [], {}
    for name, blocks, source, behind in sorted(stages, key=lambda stage: stage[2] or ""):

        def emit(begin, end, last, name=name):
            order.append(f"{name}{begin}" + "!" * last)

        made[name] = Stage(blocks, emit, made.get(source), behind)
    pipeline(*(made[name] for name, *_ in stages))
    return " ".join(order)


FOUR = [(0, 4), (4, 8), (8, 12), (12, 13)]


def test_a_block_behind():
    assert emitted(("p", FOUR, None, 0), ("q", FOUR, "p", 1)) == "p0 p4 q0 p8 q4 p12! q8 q12!"


def test_other_blocks():
    """The last one comes when its source has ended, although its rows are there before."""
    assert emitted(("p", FOUR, None, 0), ("q", [(0, 8), (8, 13)], "p", 1)) == "p0 p4 p8 q0 p12! q8!"
    assert emitted(("p", FOUR, None, 0), ("q", [(0, 4)], "p", 1)) == "p0 p4 p8 p12! q0!"


def test_routing():
    """The queues of a block while the gate of the next one waits for its norm."""
    stages = ("p", FOUR, None, 0), ("q", FOUR, "p", 1), ("s", FOUR, "r", 0), ("r", FOUR, "q", 0)
    assert emitted(*stages) == "p0 p4 q0 r0 p8 q4 s0 r4 p12! q8 s4 r8 q12! s8 r12! s12!"


def test_rows_of_the_source():
    order = []
    source = Stage(FOUR, lambda begin, end, last: order.append(("p", begin)))
    use = Stage([(0, 1), (1, 2)], lambda begin, end, last: order.append(("q", begin)), source, 0, lambda end: 5 * end)
    pipeline(source, use)
    assert order == [("p", 0), ("p", 4), ("q", 0), ("p", 8), ("p", 12), ("q", 1)]
