"""When weights arrive, for the cycle model: a stream at the bus's pace into a ring of finite size.

Tested by tests/estimate/test_cycles.py.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from hwgen.machine.interfaces import max_beats
from hwgen.machine.params import HwParams
from hwgen.rtl.memory.axi import OUTSTANDING

__all__ = ["READ", "WeightStream"]

READ = 3  #: cycles of a command of the AXI readers besides latency and beats


@dataclass
class WeightStream:
    """When weights are in the ring. Words are numbered from the program's first; a piece is an output tile's words.

    Packed weights are fewer bytes per word, but no more than one word comes per cycle.
    """

    p: HwParams
    latency: int
    slower: float | None = None  #: bytes per cycle that the memory gives, if that is less than a beat
    ends: list[int] = field(default_factory=lambda: [0])  #: word behind each piece
    times: list[float] = field(default_factory=lambda: [0.0])  #: when its last word is there
    paces: list[float] = field(default_factory=lambda: [1.0])  #: cycles from one of its words to the next
    freed: list[int] = field(default_factory=lambda: [0])  #: words popped so far ...
    freed_at: list[float] = field(default_factory=lambda: [0.0])  #: ... from this cycle on
    accepted: float = 0.0  #: when the reader took the last command

    def __post_init__(self) -> None:
        beat = self.p.weight_bus // 8
        burst = max_beats(self.p.max_burst, self.p.port_bits)
        self.reach = OUTSTANDING * burst * beat  # bytes asked for ahead of those that come
        self.rate = min(beat, self.slower or beat)  # bytes per cycle that come at best
        self.cycles_per_byte = max(1 / self.rate, (self.latency + READ + burst) / self.reach)
        self._ahead = 0.0  # words asked for ahead, of the last piece's kind
        self._full = 1  # first pop not yet waited for

    def asked(self, known: float) -> float:
        """When the reader takes the next command, which it may from `known` on."""
        self.accepted = max(known, self.accepted, self.there(int(self.ends[-1] - self._ahead)))
        return self.accepted

    def fetch(self, words: int, size: float, asked: float) -> None:
        """The next piece of the stream, of so many bytes in DRAM."""
        begin, end = self.ends[-1], self.ends[-1] + words
        pace = max(1.0, size / words * self.cycles_per_byte)
        self._ahead = self.reach * words / size
        ready = max(self.times[-1], asked + READ + self.latency) + words * pace
        while self._full < len(self.freed):
            admitted = self.freed[self._full - 1] + self.p.weight_depth  # words that had room without this pop
            if admitted >= end:
                break
            ready = max(ready, self.freed_at[self._full] + (end - max(begin, admitted)) * pace)
            if self.freed[self._full] + self.p.weight_depth >= end:
                break
            self._full += 1
        self.ends.append(end)
        self.times.append(ready)
        self.paces.append(pace)

    def free(self, words: int, when: float) -> None:
        self.freed.append(self.freed[-1] + words)
        self.freed_at.append(when)

    def there(self, word: int) -> float:
        """When all words before `word` are there."""
        if word <= 0:
            return 0.0
        piece = bisect_left(self.ends, word)
        end, time = self.ends[piece], self.times[piece]
        return max(self.times[piece - 1], time - (end - word) * self.paces[piece])
