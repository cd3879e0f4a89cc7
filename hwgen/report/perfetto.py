"""A timeline as a trace for Perfetto (its protobuf format), one nanosecond a clock cycle.

Each task is a process with a track for each unit, the stalls and each port of the memory, and a counter of each port's
bytes per cycle. Only the few messages that this takes are encoded here, by the public field numbers of
protos/perfetto/trace/trace_packet.proto and track_event/; the tests read them back with Perfetto's own classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwgen.common.errors import HwgenError
from hwgen.machine.isa import UNITS
from hwgen.report.timeline import BUSY, PORTS, Timeline

__all__ = ["BIN", "rates", "trace", "unit_slices", "write_trace"]

#: Tracks in the order shown. `engine` is the unit's name in the instruction set.
TRACKS = (*UNITS, "stalls", *(f"memory: {port}" for port in PORTS))
#: Cycles of a value of the bytes per cycle.
BIN = 256
_BEGIN, _END, _COUNTER = 1, 2, 4  # TrackEvent.Type
_SEQUENCE = 1

Slice = tuple[int, int, str, Mapping[str, int | str]]  #: begin, end, name, what else is known


def write_trace(path: Path, timelines: Iterable[Timeline]) -> None:
    """Raises HwgenError where `path` cannot be written."""
    data = trace(timelines)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be written", found=str(error.strerror)) from None


def trace(timelines: Iterable[Timeline]) -> bytes:
    """The whole file."""
    packets = (packet for number, one in enumerate(timelines, 1) for packet in _process(number, one))
    return b"".join(_bytes(1, packet) for packet in packets)


def unit_slices(timeline: Timeline, unit: str) -> Iterator[Slice]:
    """The unit's instructions, none over another: the array works on several at once, and there one ends where the next
    begins; its last result is in the buffer at `written`."""
    table = timeline.instructions
    ran = sorted((begin, number) for number, begin in enumerate(table.begin)
                 if begin is not None and table.unit[number] == unit)  # fmt: skip
    shares = {share.instruction: share for share in timeline.shares()} if unit == "engine" else {}
    for (begin, number), follower in zip(ran, [*ran[1:], None]):
        written = table.end[number] or begin
        end = min(written, follower[0]) if follower else written
        known: dict[str, int | str] = {"instruction": number, "op": table.op[number], "written": written}
        if share := shares.get(number):
            known |= {"busy": share.busy} | {f"stall {cause}": count for cause, count in share.stalls.items()}
        yield begin, max(end, begin), table.name[number], known


def rates(timeline: Timeline, port: str, width: int = BIN) -> NDArray[np.float64]:
    """Bytes per cycle over a port, the mean of each `width` cycles; a transfer's bytes are taken to come evenly."""
    table = timeline.transfers
    bins = np.zeros(-(-max([timeline.cycles, *table.end]) // width))
    for at, begin, end, size in zip(table.port, table.begin, table.end, table.bytes, strict=True):
        if at != port:
            continue
        first, last = begin // width, (end - 1) // width
        edges = np.clip(np.arange(first, last + 2) * width, begin, end)
        bins[first : last + 1] += np.diff(edges) * size / (end - begin)
    return bins / width


def _process(number: int, timeline: Timeline) -> Iterator[bytes]:
    """Packets of a task: its tracks, then what is on them."""
    home = number << 8
    title = f"{timeline.model}, {timeline.task}: {timeline.cycles} cycles ({timeline.source}; 1 ns = 1 cycle)"
    yield _packet(0, 60, _number(1, home) + _bytes(3, _number(1, number) + _bytes(6, title.encode())))
    for rank, name in enumerate(TRACKS):
        uuid = home + 1 + rank
        yield _packet(0, 60, _number(1, uuid) + _bytes(2, name.encode()) + _number(5, home) + _number(12, rank))
        for begin, end, what, known in _slices(timeline, name):
            notes = b"".join(_bytes(4, _note(key, value)) for key, value in known.items())
            yield _event(begin, uuid, _BEGIN, _bytes(23, what.encode()) + notes)
            yield _event(end, uuid, _END)
    for rank, port in enumerate(PORTS, len(TRACKS)):
        uuid = home + 1 + rank
        counter = _bytes(8, _bytes(6, b"bytes/cycle"))
        yield _packet(0, 60, _number(1, uuid) + _bytes(2, f"memory: {port}, bytes per cycle".encode())
                      + _number(5, home) + counter)  # fmt: skip
        for at, value in enumerate(rates(timeline, port)):
            yield _event(at * BIN, uuid, _COUNTER, _double(44, float(value)))


def _slices(timeline: Timeline, track: str) -> Iterable[Slice]:
    if track in UNITS:
        return unit_slices(timeline, track)
    if track == "stalls":
        found = timeline.causes
        rows = zip(found.cause, found.begin, found.end, strict=True)
        return [(begin, end, cause, {}) for cause, begin, end in rows if cause != BUSY]
    return _transfers(timeline, track.removeprefix("memory: "))


def _transfers(timeline: Timeline, port: str) -> Iterator[Slice]:
    """One behind the other, though several weight ports may be at different instructions' weights."""
    table, names = timeline.transfers, timeline.instructions.name
    rows = [at for at, of in enumerate(table.port) if of == port]
    done = 0
    for at in sorted(rows, key=lambda at: table.begin[at]):
        begin, of = max(table.begin[at], done), table.instruction[at]
        done = max(done, table.end[at])
        known: dict[str, int | str] = {"bytes": table.bytes[at], "asked": table.asked[at]}
        if of is not None:
            known["instruction"] = of
        yield begin, done, table.kind[at] if of is None else f"{table.kind[at]} of {names[of]}", known


# Messages. Numbers are varints (wire type 0), doubles eight bytes (1), texts and messages lengths and bytes (2).


def _packet(time: int, field: int, message: bytes) -> bytes:
    """Of the trace: a message in one of its fields."""
    return _number(8, time) + _number(10, _SEQUENCE) + _bytes(field, message)


def _event(time: int, track: int, kind: int, rest: bytes = b"") -> bytes:
    return _packet(time, 11, _number(9, kind) + _number(11, track) + rest)


def _note(name: str, value: int | str) -> bytes:
    """An argument of an event."""
    text = _bytes(10, name.encode())
    return text + (_bytes(6, value.encode()) if isinstance(value, str) else _number(4, value))


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + np.float64(value).astype("<f8").tobytes()


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data
