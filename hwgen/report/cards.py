"""The headline figures of a report: what a run costs in time, silicon, accuracy and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwgen.build import Build
from hwgen.estimate.cycles import CycleEstimate
from hwgen.estimate.resources import estimate_resources, total
from hwgen.machine.devices import Device, Usage
from hwgen.network.macs import macs
from hwgen.report.result import Cost, TaskRun

__all__ = ["CLOCK", "Card", "cards"]

#: MHz where nobody names a clock.
CLOCK = 200.0
#: Resources that are shown: of `Usage`, and in words.
SHOWN = {"dsp": "DSP", "lut": "LUT", "bram36": "BRAM36", "uram": "URAM"}


@dataclass(frozen=True)
class Card:
    """A figure with its unit, and beneath it what it is. warns: it does not fit or differs."""

    label: str
    value: str
    note: str
    warns: bool = False


def cards(build: Build, task: str, run: TaskRun | None, guess: CycleEstimate, cost: Cost | None,
          device: Device | None, mhz: float) -> list[Card]:  # fmt: skip
    """Of one task, all per image; mhz: the clock in MHz."""
    batch = build.compiled.batch
    cycles = run.cycles_per_image.mean if run else guess.cycles / batch
    useful = macs(build.model, task)
    if run:
        same = "bit for bit the golden model's" if run.bit_identical else "NOT the golden model's"
        said = f"simulated, {run.images} image{'s' * (run.images > 1)}, {same}"
        moved = sum(value for name, value in run.counters.items() if name.startswith("gmem") and "wasted" not in name)
    else:
        said, moved = "by the cycle model, not simulated", sum(guess.dram_bytes.values()) / batch
    seconds = cycles / mhz / 1e6
    found = [
        Card("cycles", f"{cycles:,.0f}", said, bool(run and not run.bit_identical)),
        Card("time", _time(seconds), f"per image at {mhz:g} MHz" + f", in batches of {batch}" * (batch > 1)),
        Card("frames per second", f"{1 / seconds:,.{0 if seconds < 0.1 else 2}f}", "one after another"),
        Card("utilization", f"{useful / (cycles * build.params.macs):.1%}",
             f"of {build.params.macs:,} MACs per cycle; {useful / 1e6:,.0f} M useful ones"),
        Card("DRAM", _bytes(moved), f"per image, {moved / cycles:.1f} bytes per cycle"),
    ]  # fmt: skip
    return found + _accuracy(task, run, cost) + _resources(build, device)


def _accuracy(task: str, run: TaskRun | None, cost: Cost | None) -> list[Card]:
    found = []
    if cost and task in cost.tasks:
        one = cost.tasks[task]
        for name, value in one.integer.items():
            exact = one.float_.get(name)
            shown, beside = (f"{value:.4g}", f"{exact:.4g}") if name == "mae" else (f"{value:.2%}", f"{exact:.2%}")
            found.append(Card(name, shown, f"in integers; in floats {beside}; {cost.images:,} images"))
        if one.sqnr_db is not None:
            same = "" if one.same_class_share is None else f"; same class in {one.same_class_share:.2%}"
            found.append(Card("against float", f"{one.sqnr_db:.1f} dB", f"SQNR of the outputs{same}"))
    elif run and run.accuracy is not None:
        found.append(Card("accuracy", f"{run.accuracy:.2%}", f"of {run.images} simulated images"))
    return found


def _resources(build: Build, device: Device | None) -> list[Card]:
    need: Usage = total(estimate_resources(build.params, device.family if device else "xcup"))
    found = []
    for name, label in SHOWN.items():
        value, there = getattr(need, name), getattr(device, name) if device else 0
        if not value:
            continue
        if device is None:
            note = "estimated for UltraScale+"
        elif there:
            note = f"estimated, {value / there:.0%} of {device.name}"
        else:
            note = f"estimated; {device.name} has none"
        found.append(Card(label, f"{value:,.0f}", note, device is not None and value > there))
    return found


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} µs"


def _bytes(count: float) -> str:
    power = min(int(math.log10(max(count, 1)) / 3), 3)
    return f"{count / 1000**power:.3g} {('B', 'KB', 'MB', 'GB')[power]}"
