"""All cases, in processes or on a cluster; goes on where it was interrupted. Faults are minimised where they are found.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import hwgen
from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params
from hwgen.explore.run import spread
from hwgen.explore.store import Lines
from hwgen.verify.check import Bench, Fault, bench
from hwgen.verify.draw import PER_MACHINE, Case, Machine, draw_machine, numbers_of
from hwgen.verify.save import save
from hwgen.verify.shrink import shrunk

__all__ = ["Outcome", "Outcomes", "machine_outcomes", "verify"]

FILE = "cases.jsonl"
Progress = Callable[[int, int], None]  # done, of how many


@dataclass(frozen=True)
class Outcome:
    """Of a case. refused: why hwgen does not take the network; fault: what was wrong, `saved` where it can be seen.
    seconds, cpu: of this case and its share of its machine, passed and used by the worker and its simulations."""

    number: int
    facts: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    fault: dict[str, str] | None = None
    saved: str = ""
    seconds: float = 0.0
    cpu: float = 0.0


class Outcomes(Lines[int, Outcome]):
    """Those in a folder, of one seed."""

    what = "outcome"
    head = {"format": "hwgen-verify", "version": 1}

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder / FILE, f"hwgen {hwgen.__version__}, seed {seed}, {PER_MACHINE} a machine")

    def key(self, entry: Outcome) -> int:
        return entry.number

    def parse(self, data: dict[str, Any]) -> Outcome:
        return Outcome(**data)

    def dump(self, entry: Outcome) -> dict[str, Any]:
        return asdict(entry)


def verify(
    seed: int, cases: int, store: Outcomes, folder: Path, *, workers: int | None = None, scheduler: str | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Outcome]:  # fmt: skip
    """The cases 0 .. cases - 1 in their order, whatever the number of workers. folder: where faults are saved, seen by
    all workers. Raises HwgenError where a worker can say nothing, as without Verilator."""

    def missing() -> list[tuple[int, ...]]:
        rest = [number for number in range(cases) if number not in store.known]
        machines = sorted({number // PER_MACHINE for number in rest})
        return [tuple(number for number in rest if number in numbers_of(one)) for one in machines]

    def step() -> None:
        progress(sum(number in store.known for number in range(cases)), cases)

    step()
    spread(partial(machine_outcomes, seed, str(folder.absolute())), missing, store.add, workers=workers,
           scheduler=scheduler, step=step)  # fmt: skip
    return [store.known[number] for number in range(cases)]


def machine_outcomes(seed: int, folder: str, numbers: Sequence[int]) -> list[Outcome]:
    """What a worker does: cases of one machine."""
    start, used = time.monotonic(), _cpu()
    machine = draw_machine(seed, numbers[0] // PER_MACHINE)
    wanted = [case for case in machine.cases if case.number in numbers]
    found = [Outcome(number, refused=why) for number, why in machine.refused.items() if number in numbers]
    kinds: set[str] = set()
    with bench(machine.params, machine.emission) as on:
        for case in wanted:
            fault = on.fault(case)
            facts = machine.facts(case)
            if fault is None:
                found.append(Outcome(case.number, facts))
            else:
                place = Path(folder) / f"failed-{seed}-{case.number}"
                # One of a kind is enough to see it: where all fail, minimising all would take days.
                saved = (save(case, machine.params, machine.emission, fault, seed, place) if fault.kind in kinds else
                         _kept(on, machine, case, fault, seed, place))  # fmt: skip
                kinds.add(fault.kind)
                found.append(Outcome(case.number, facts, fault=asdict(fault), saved=str(saved)))
    seconds, cpu = ((now - before) / len(found) for now, before in ((time.monotonic(), start), (_cpu(), used)))
    return [replace(one, seconds=seconds, cpu=cpu) for one in sorted(found, key=lambda one: one.number)]


def _kept(on: Bench, machine: Machine, case: Case, fault: Fault, seed: int, folder: Path) -> Path:
    """Minimised on its machine, then on one that is just large enough, if it fails there, too."""

    def fails(one: Case, there: Bench = on) -> bool:
        found = there.fault(one)
        return found is not None and found.kind == fault.kind

    case = shrunk(case, fails)
    p = machine.params
    buses = {"weight_bus": p.weight_bus, "data_bus": p.data_bus, "weight_ports": p.weight_ports}
    try:
        sized = auto_params([case.network], p.t, p.c, p.k, batch=case.batch, **buses)
        needed = {name: value for name, value in asdict(sized).items() if name.endswith("_depth") or name in SIZED}
        small = replace(p, **needed)
        with bench(small, machine.emission) as other:
            p = small if fails(case, other) else p
            last = (other if p is small else on).fault(case)
    except HwgenError:  # what is wrong may be the sizing
        last = on.fault(case)
    return save(case, p, machine.emission, last or fault, seed, folder)


#: Besides the depths, what follows from the networks.
SIZED = ("max_tokens", "max_experts", "max_topk", "rms_norm", "gated_mlp", "spill")


def _cpu() -> float:
    """Seconds of this process and those it has waited for."""
    return sum(os.times()[:4])
