"""Areas of the buffers, and what an instruction reads or writes of them. Tested by tests/compiler/test_order.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwgen.machine.isa import Source

__all__ = ["Access", "Area", "Span"]

#: First and behind the last: rows, C-words.
Span = tuple[int, int]


@dataclass(frozen=True)
class Area:
    """Where a tensor lies: row r, C-word j is in bank r % banks, word base + r div banks · stride + j div parts."""

    buffer: str  #: X, Y, H, K, V, LOGITS, QUEUE (an expert's queue) or TABLE (rows: the halves)
    base: int = 0
    stride: int = 1  #: words from one group of rows to the next
    banks: int = 1  #: rows of a group
    parts: int = 1  #: C-words of a word

    @property
    def source(self) -> Source:
        return Source[self.buffer]

    def at(self, row: int) -> int:
        """The first word of the group that `row` is in."""
        return self.base + row // self.banks * self.stride


@dataclass(frozen=True)
class Access:
    """Rows and C-words of an area that an instruction reads or writes.

    The engine's come with times, in array steps, one per row and one per word, which add up: a read happens so many
    steps after the instruction's first, a write leaves the array so many steps before its last.
    """

    area: Area
    rows: Span
    words: Span
    row_times: Sequence[int] = ()
    word_times: Sequence[int] = ()

    def overlaps(self, other: Access) -> bool:
        if self.area.buffer != other.area.buffer:
            return False
        if self.area == other.area:
            return bool(_meet(self.rows, other.rows) and _meet(self.words, other.words))
        return _meet(self._addresses, other._addresses) is not None

    def distance(self, read: Access) -> int:
        """Of a write, to a read that overlaps: the least sum of times over what both touch."""
        if self.area != read.area:  # one tensor in the place of another
            return 0
        sums = []
        for span, written, own, times, other in (
            (_meet(self.rows, read.rows), self.row_times, self.rows, read.row_times, read.rows),
            (_meet(self.words, read.words), self.word_times, self.words, read.word_times, read.words),
        ):
            assert span
            pairs = zip(_cut(written, own, span), _cut(times, other, span), strict=True)
            sums.append(min(map(sum, pairs)))
        return sum(sums)

    def latest(self, other: Access) -> int:
        """Of a write: the most steps before the instruction's last at which something of `other` is written."""
        if self.area != other.area:
            return max(self.row_times) + max(self.word_times)
        rows, words = _meet(self.rows, other.rows), _meet(self.words, other.words)
        assert rows and words
        return max(_cut(self.row_times, self.rows, rows)) + max(_cut(self.word_times, self.words, words))

    @property
    def _addresses(self) -> Span:
        (first, end), words = self.rows, [word // self.area.parts for word in (self.words[0], self.words[1] - 1)]
        return self.area.at(first) + words[0], self.area.at(end - 1) + words[1] + 1


def _meet(one: Span, other: Span) -> Span | None:
    begin, end = max(one[0], other[0]), min(one[1], other[1])
    return (begin, end) if begin < end else None


def _cut(times: Sequence[int], own: Span, span: Span) -> Sequence[int]:
    """The part that belongs to `span`."""
    return times[span[0] - own[0] : span[1] - own[0]]
