"""What a synthesis flow is: Verilog or HLS sources, and a device in, counts of resources and clocks out.

A flow is a file here with a class that has the members of `Flow`, a line in `registry.py`, and its scripts under
templates/flows. Tools are found and run by `tools.py`, which keeps what they made by content, so that an interrupted
or repeated run goes on where it was. Tested by tests/flows/test_registry.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hwgen.common.tools import Tool
from hwgen.machine.devices import Device, Usage

__all__ = ["Flow", "Job", "ModuleUsage", "Progress", "Report"]

#: What is being done, how many of how many steps are finished.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ModuleUsage:
    """What one instance of a module takes, those of its submodules that have rows of their own not counted."""

    name: str
    instances: int
    usage: Usage


@dataclass(frozen=True)
class Job:
    """What is to be synthesized, for which device; `say` is told the progress, up to `jobs` tools run at a time.

    `seeds` are of the placer, `mhz` is the clock asked for; a flow that places nothing ignores both. Of Verilog and HLS
    sources there is what the flow takes.
    """

    verilog: str
    top: str
    device: Device
    say: Progress = lambda what, done, total: None
    jobs: int = 1
    seeds: tuple[int, ...] = (1,)
    mhz: float | None = None
    parts: tuple[str, ...] = ()  #: modules that are to have rows of their own, by the end of their names
    hls: Mapping[str, str] = field(default_factory=dict)  #: file name → text


@dataclass(frozen=True)
class Report:
    """What a flow has found. What it does not know is None or empty.

    `levels`: LUTs on the longest path between registers, carries and wide multiplexers not counted; `longest_path`:
    all its cells. `fmax`: MHz of each seed. `latches`, `ff_memories` (memories that found no RAM) should be 0.
    `files`: what came out, by the name it is to have; their paths stay out of the JSON.
    """

    flow: str
    device: str
    tools: dict[str, str]  #: program → version
    total: Usage
    modules: list[ModuleUsage] = field(default_factory=list)
    levels: int | None = None
    longest_path: int | None = None
    fmax: dict[int, float] = field(default_factory=dict)
    critical_path: list[str] = field(default_factory=list)
    largest_nets: list[tuple[str, int]] = field(default_factory=list)  #: name, pins of cells that it drives
    latches: int = 0
    ff_memories: int = 0
    files: dict[str, Path] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"files": sorted(self.files)}


class Flow(Protocol):
    """One way from an accelerator to figures."""

    @property
    def name(self) -> str: ...  #: of `--flow`
    @property
    def families(self) -> tuple[str, ...]: ...  #: of the devices it can map to
    @property
    def device(self) -> str: ...  #: where none is named
    @property
    def hls(self) -> bool: ...  #: whether it takes HLS sources, not Verilog

    def tools(self) -> list[Tool]:
        """What it runs; raises HwgenError (expected, found, mend) if one is missing."""

    def run(self, job: Job) -> Report:
        """All of it. Raises HwgenError with the end of the tool's log if a tool fails; writes only to the cache."""
