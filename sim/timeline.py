"""From what the harness noted of a run to its timeline: names of instructions, bursts put to whom they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from numpy.typing import NDArray

from hwgen.build import Build
from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.compiler import Instr
from hwgen.machine.isa import UNITS, Op
from hwgen.report.timeline import BUSY, Causes, Instructions, Timeline, Transfers
from sim.job import Burst, JobResult
from sim.ports import WRITES

__all__ = ["PAUSE", "check_timeline", "count_experts", "timeline"]

UNIT_OF = {op: unit for unit, ops in UNITS.items() for op in ops}
#: Cycles without a beat after which a transfer counts as another one.
PAUSE = 16
#: Region of a burst → who reads or writes there, and what it is called.
READERS = {
    "weights": ((Op.MATMUL,), "weights"), "input": ((Op.IMAGE,), "image"), "output": ((Op.STORE,), "output"),
    "program": ((Op.LOAD,), "tables"),
}  # fmt: skip


def check_timeline(build: Build, engine: str) -> None:
    """Raises HwgenError where there can be none."""
    if engine != "harness":
        raise HwgenError(COMMAND_LINE, "--timeline", expected="--engine harness", found=engine,
                         mend="leave out --engine")  # fmt: skip
    if not build.emission.debug:
        raise HwgenError(
            str(build.path), "--timeline", expected="a build with debug ports", found="one without",
            mend="leave `debug: false` out of `rtl` in its config.yaml and build it again",
        )  # fmt: skip


def count_experts(
    means: dict[str, list[float]], tensors: Mapping[str, NDArray], batch: int, count: int, before: int
) -> None:
    """Takes a run into the means, by layer, of the rows of an image that each expert gets. `tensors`: the run's, of
    which `count` images are new; `before`: images so far."""
    for name, tensor in tensors.items():
        layer, _, rest = name.partition(".expert.")
        if rest.endswith(".tokens"):
            expert, rows = int(rest.split(".")[0]), len(tensor) / batch
            loads = means.setdefault(layer, [])
            loads += [0.0] * (expert + 1 - len(loads))
            loads[expert] += (rows - loads[expert]) * count / (before + count)


def timeline(build: Build, task: str, result: JobResult) -> Timeline:
    """Of a job that was run with `timeline`."""
    program = build.compiled.instructions[task]
    spans = {span.instruction: span for span in result.timeline}
    ran = [spans.get(number) for number in range(len(program))]
    return Timeline(
        source="simulation", model=build.model.model.name, task=task, batch=build.compiled.batch,
        cycles=result.counters.get("cycles", result.cycles),
        instructions=Instructions(
            name=[instr.name for instr in program], op=[instr.op.name for instr in program],
            unit=[UNIT_OF.get(instr.op, "") for instr in program],
            begin=[None if span is None else span.begin for span in ran],
            end=[None if span is None else span.retire for span in ran],
        ),
        causes=Causes(
            cause=[_cause(one.counter) for one in result.causes], begin=[one.begin for one in result.causes],
            end=[one.end for one in result.causes],
        ),
        transfers=_transfers(result.bursts, program, build.compiled.entries[task], build.params.weight_ports),
    )  # fmt: skip


def _cause(counter: str) -> str:
    return BUSY if counter == "array_busy" else counter.removeprefix("stall_")


def _transfers(bursts: Sequence[Burst], program: Sequence[Instr], entry: int, weight_ports: int) -> Transfers:
    """Bursts that follow each other for one instruction are one transfer."""
    found = Transfers(port=[], kind=[], instruction=[], asked=[], begin=[], end=[], bytes=[])
    open_: dict[str, int] = {}  # by lane, the transfer that goes on; several weight ports are one lane
    for burst, instruction, kind in _owners(bursts, program, entry, weight_ports):
        lane = "weights" if burst.region == "weights" else "data out" if burst.port == WRITES else "data in"
        at = open_.get(lane)
        same = at is not None and (found.kind[at], found.instruction[at]) == (kind, instruction)
        if at is not None and same and burst.first - found.end[at] <= PAUSE:
            found.end[at] = max(found.end[at], burst.last + 1)
            found.bytes[at] += burst.bytes
            continue
        open_[lane] = len(found.kind)
        found.port.append(lane)
        found.kind.append(kind)
        found.instruction.append(instruction)
        found.asked.append(burst.asked)
        found.begin.append(burst.first)
        found.end.append(burst.last + 1)
        found.bytes.append(burst.bytes)
    return found


def _owners(
    bursts: Sequence[Burst], program: Sequence[Instr], entry: int, weight_ports: int
) -> Iterator[tuple[Burst, int | None, str]]:
    """Each burst with the instruction it is for. Every port serves its region's instructions in program order, so the
    search goes on where the last burst of its kind was found."""
    places: dict[tuple[int, str], tuple[int, int]] = {}  # port, region → instruction, offset of the last burst
    for burst in bursts:
        scale = weight_ports if burst.region == "weights" else 1
        offset, size = burst.offset * scale, burst.bytes * scale
        if burst.region == "program" and offset >= entry:
            yield burst, None, "program"
            continue
        ops, kind = READERS[burst.region]
        first, before = places.get((burst.port, burst.region), (0, -1))
        at = next((number for number in range(first, len(program))
                   if _meets(program[number], ops, offset, size) and not (number == first and offset <= before)),
                  None)  # fmt: skip
        if at is not None:
            places[burst.port, burst.region] = at, offset
        yield burst, at, kind


def _meets(instr: Instr, ops: tuple[Op, ...], offset: int, size: int) -> bool:
    begin = instr.fields.get("offset", 0)
    return instr.op in ops and offset < begin + instr.fields.get("bytes", 0) and begin < offset + size
