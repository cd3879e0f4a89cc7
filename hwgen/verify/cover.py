"""What the cases covered: every field with its extremes and how often each was met, words with their counts.

Tested by tests/verify/test_draw.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Field", "coverage"]


@dataclass(frozen=True)
class Field:
    """A row of the table. values: how many different ones; low, high: the extremes, of numbers only; counts: cases by
    value, of words, and of numbers the extremes."""

    name: str
    values: int
    low: float | None
    high: float | None
    counts: dict[str, int]

    def text(self) -> str:
        """The extremes with how many cases had them, or each word."""
        if self.low is None:
            return ", ".join(f"{word} {count:,}" for word, count in self.counts.items())
        ends = dict.fromkeys((f"{self.low:g}", f"{self.high:g}"))
        return " … ".join(f"{end} ({self.counts[end]:,})" for end in ends)


def coverage(facts: Iterable[Mapping[str, Any]]) -> list[Field]:
    """In the order in which fields were first met."""
    met: dict[str, Counter[Any]] = {}
    for one in facts:
        for name, value in one.items():
            met.setdefault(name, Counter()).update(value.split() if isinstance(value, str) else [value])
    return [_field(name, counts) for name, counts in met.items()]


def _field(name: str, counts: Counter[Any]) -> Field:
    if any(isinstance(value, str) for value in counts):
        return Field(name, len(counts), None, None, {word: counts[word] for word in sorted(counts)})
    low, high = min(counts), max(counts)
    return Field(name, len(counts), low, high, {f"{end:g}": counts[end] for end in (low, high)})
