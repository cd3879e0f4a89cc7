"""ORDER fields from what instructions read and write; `tests/sim/test_hazards.py` checks whole programs."""

import pytest

from hwgen.compiler.areas import Access, Area
from hwgen.compiler.order import Order, Work
from hwgen.compiler.ring import Matrix, Ring
from hwgen.machine.isa import NO_WAIT

X, Y, H = Area("X", stride=2), Area("Y", 0, 2, 4, 2), Area("H", 0, 2, 4, 2)
#: Four row tiles, two words: as in a MATMUL of two output tiles and two steps.
READ = Access(H, (0, 16), (0, 2), [row // 4 * 2 for row in range(16)], [0, 1])
WRITE = Access(H, (0, 16), (0, 2), [6 - row // 4 * 2 for row in range(16)], [8, 0])


def engine(*, reads=(), writes=(), expert=None, **kwargs):
    return Work(unit="engine", reads=reads, writes=writes, steps=16, expert=expert, **kwargs)


def norm(rows, **kwargs):
    return Work(unit="norm", reads=(Access(X, rows, (0, 2)),), writes=(Access(Y, rows, (0, 2)),), **kwargs)


@pytest.mark.parametrize(
    "one, other, expected",
    [
        (Access(Y, (0, 4), (0, 2)), Access(Y, (4, 8), (0, 2)), False),
        (Access(Y, (0, 5), (0, 2)), Access(Y, (4, 8), (0, 2)), True),
        (Access(Y, (0, 8), (0, 1)), Access(Y, (0, 8), (1, 2)), False),
        (Access(Y, (0, 8), (0, 2)), Access(H, (0, 8), (0, 2)), False),
        # another tensor in the same place: words 0 to 3 and 3, 4
        (Access(Y, (0, 8), (0, 4)), Access(Area("Y", 3, 1, 4, 2), (0, 5), (0, 2)), True),
        (Access(Y, (0, 8), (0, 3)), Access(Area("Y", 4, 1, 4, 2), (0, 5), (0, 2)), False),
    ],
)
def test_overlaps(one, other, expected):
    assert one.overlaps(other) is other.overlaps(one) is expected


def test_units_wait_for_what_they_read():
    """Only for it: rows of other blocks, and units already waited for, may be busy."""
    order = Order(t=8)
    order.place(norm((0, 4)))
    order.place(norm((4, 8)))
    use = engine(reads=(Access(Y, (0, 4), (0, 2), [0] * 4, [0] * 2),))
    assert order.place(use)["beside_norm"] == 1
    later = engine(reads=(Access(Y, (4, 8), (0, 2), [0] * 4, [0] * 2),))
    assert "beside_norm" not in order.place(later)
    assert order.place(later)["beside_norm"] == 1


def test_engine_lag():
    order = Order(t=8)
    adds = [engine(writes=(Access(X, (row, row + 4), (0, 2), [0] * 4, [0] * 2),)) for row in (0, 4, 8)]
    for work in adds:
        assert order.place(work)["engine_lag"] == 7
    assert order.place(norm((4, 8)))["engine_lag"] == 1
    assert order.running(adds[2])
    assert not order.running(adds[1])
    assert order.place(norm((0, 8)))["engine_lag"] == 7
    for _ in range(4):
        order.place(engine())
    assert order.place(norm((8, 12)))["engine_lag"] == 7


def test_ports_and_alone():
    order = Order(t=8)
    port = frozenset(["port"])
    order.place(norm((0, 4), ports=port))
    order.place(engine())
    assert "beside_norm" not in order.place(Work(unit="mover", ports=port))
    fields = order.place(Work(unit="data", alone=True))
    assert fields["engine_lag"] == 0
    assert "beside_mover" not in fields


def test_slack():
    """Word 1 of a row tile is read a step after word 0 and written last, 2 · (3 - tile) steps before the end."""
    order = Order(t=8)
    order.place(engine(writes=(WRITE,)))
    assert order.place(engine(reads=(READ,)))["slack"] == 7
    assert order.place(engine())["slack"] == NO_WAIT
    assert order.place(engine(reads=(READ,)))["slack"] == 7 + 2 * 16
    order.place(engine(writes=(WRITE,)))
    order.place(engine(expert=3))  # perhaps without rows
    assert order.place(engine(reads=(READ,)))["slack"] == 7


def test_slack_of_a_tensor_in_anothers_place():
    order = Order(t=8)
    order.place(engine(writes=(WRITE,)))
    read = Access(Area("H", 1, 1, 4, 2), (0, 4), (0, 2), [0] * 4, [20, 21])
    assert order.place(engine(reads=(read,)))["slack"] == 0


@pytest.mark.parametrize("between, expected", [(0, False), (1, True)])
def test_probes(between, expected):
    """The first result of the next instruction may come before the one before has retired, of the second next not."""
    order = Order(t=8)
    first, last = engine(writes=(WRITE,)), engine(writes=(WRITE,))
    order.place(first)
    for _ in range(between):
        order.place(engine(reads=(READ,)))
    order.place(last)
    assert order.retires_before(first, last, WRITE, WRITE, None) is expected


class Words(Matrix):
    """Of a given size."""

    words = property(lambda self: int(self.linear[1:]))


def test_ring():
    ring = Ring(depth=10)
    a, b, c = (Words(None, None, name) for name in ("a4", "b3", "c5"))
    assert ring.holds(a, b)
    assert not ring.holds(a, b, c)
    assert not Ring(depth=1 << 20).holds(Words(None, None, "d65536"))
    assert [ring.use(a, False), ring.use(b, False), ring.use(a, False), ring.use(b, False)] == [
        (True, 0), (True, 4), (False, 0), (False, 4),
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="b3 cannot leave before a4"):
        ring.use(b, True)
    assert ring.use(a, True) == (False, 0)
    assert [ring.use(b, True), ring.use(c, True), ring.use(c, True)] == [(False, 0), (True, 0), (True, 0)]
