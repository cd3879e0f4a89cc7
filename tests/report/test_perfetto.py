"""The trace, read back by Perfetto's own classes. Its trace processor is a program that the package fetches from the
network at run time, which tests have not: the messages are parsed instead, and checked for what it would need."""

from collections import defaultdict
from itertools import pairwise

import pytest

from hwgen.common.errors import HwgenError
from hwgen.machine.isa import UNITS
from hwgen.report.perfetto import BIN, rates, trace, unit_slices, write_trace
from hwgen.report.timeline import PORTS
from tests.report.helpers import simulated

UnknownFieldSet = pytest.importorskip("google.protobuf.unknown_fields").UnknownFieldSet
trace_pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
Event = trace_pb2.TrackEvent


def known_fields(message) -> bool:
    """No field that Perfetto does not know, in the message and all within."""
    inner = [value for field, value in message.ListFields() if field.type == field.TYPE_MESSAGE]
    messages = [one for value in inner for one in ([value] if hasattr(value, "ListFields") else value)]
    return not len(UnknownFieldSet(message)) and all(known_fields(one) for one in messages)


def read(data: bytes):
    """The tracks by uuid; slices (name, begin, end, arguments) and values (time, value) by uuid."""
    parsed = trace_pb2.Trace()
    assert parsed.ParseFromString(data) == len(data)
    assert known_fields(parsed)
    tracks, slices, values, open_ = {}, defaultdict(list), defaultdict(list), {}
    for packet in parsed.packet:
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("track_descriptor"):
            tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            continue
        event, time = packet.track_event, packet.timestamp
        assert event.track_uuid in tracks
        if event.type == Event.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_, "slices of a track do not overlap"
            known = {note.name: note.string_value or note.int_value for note in event.debug_annotations}
            open_[event.track_uuid] = event.name, time, known
        elif event.type == Event.TYPE_SLICE_END:
            name, begin, known = open_.pop(event.track_uuid)
            before = slices[event.track_uuid][-1][2] if slices[event.track_uuid] else 0
            assert before <= begin <= time, "slices of a track come one behind the other"
            slices[event.track_uuid].append((name, begin, time, known))
        else:
            assert event.type == Event.TYPE_COUNTER
            values[event.track_uuid].append((time, event.double_counter_value))
    assert not open_
    return tracks, slices, values


@pytest.fixture
def timelines(build):
    return [simulated(build, task) for task in build.compiled.entries]


def test_read_back(build, timelines):
    """Every instruction, every stall and every transfer of each task, on the track of its unit or port."""
    tracks, slices, values = read(trace(timelines))
    processes = [track for track in tracks.values() if track.HasField("process")]
    assert [track.process.process_name.split(":")[0] for track in processes] == [
        f"{build.model.model.name}, {one.task}" for one in timelines
    ]
    assert len({track.process.pid for track in processes}) == len(timelines)
    for process, made in zip(processes, timelines, strict=True):
        own = {track.name: track.uuid for track in tracks.values() if track.parent_uuid == process.uuid}
        assert list(own)[: len(UNITS) + 1] == [*UNITS, "stalls"]
        table = made.instructions
        found = [slice_ for unit in UNITS for slice_ in slices[own[unit]]]
        ran = {number for number, begin in enumerate(table.begin) if begin is not None}
        assert {known["instruction"] for *_, known in found} == ran
        for name, begin, end, known in found:
            number = known["instruction"]
            assert (name, known["op"], begin) == (table.name[number], table.op[number], table.begin[number])
            assert end <= known["written"] == table.end[number]
        stalls = defaultdict(int)
        for name, begin, end, _ in slices[own["stalls"]]:
            stalls[name] += end - begin
        shared = defaultdict(int)
        for share in made.shares():
            for cause, cycles in share.stalls.items():
                shared[cause] += cycles
        assert stalls == shared and sum(stalls.values()) > 100
        for port in PORTS:
            moved = sum(size for at, size in zip(made.transfers.port, made.transfers.bytes) if at == port)
            assert sum(known["bytes"] for *_, known in slices[own[f"memory: {port}"]]) == moved > 0
            rows = values[own[f"memory: {port}, bytes per cycle"]]
            assert sum(value * BIN for _, value in rows) == pytest.approx(moved)
            assert [time for time, _ in rows] == [BIN * number for number in range(len(rows))]


def test_slices_of_the_array_end_where_the_next_begins(timelines):
    """It works on several instructions at once; here as it never would, each on all that come behind."""
    made = timelines[0]
    late = made.instructions.model_copy(update={"end": [None if at is None else 10**6 for at in made.instructions.end]})
    slices = list(unit_slices(made.model_copy(update={"instructions": late}), "engine"))
    assert all(end == begin for (_, end, *_), (begin, *_) in pairwise(slices))
    assert slices[-1][1] == 10**6 and {known["written"] for *_, known in slices} == {10**6}


def test_transfers_over_each_other_come_one_behind_the_other(timelines):
    """Two weight ports may be at the weights of two instructions."""
    made = timelines[0]
    early = [max(begin - 50, 0) for begin in made.transfers.begin]
    table = made.transfers.model_copy(update={"begin": early})
    _, slices, _ = read(trace([made.model_copy(update={"transfers": table})]))
    assert sum(known.get("bytes", 0) for rows in slices.values() for *_, known in rows) == sum(table.bytes)


def test_rates_are_those_of_the_bus(build, timelines):
    """The helper's transfers come at the bus's pace: no value is above it, the fullest at it."""
    values = rates(timelines[0], "weights", 16)
    assert values.max() == pytest.approx(build.params.weight_bus / 8, rel=0.05)


def test_a_place_that_cannot_be_written(timelines, tmp_path):
    with pytest.raises(HwgenError, match=r"none/trace\n  expected: a file that can be written\n  found:    No such"):
        write_trace(tmp_path / "none" / "trace", timelines)
    write_trace(tmp_path / "trace.pftrace", timelines)
    assert (tmp_path / "trace.pftrace").read_bytes() == trace(timelines)
