"""How a build is simulated where nothing else is asked for: as usual, or as the case that `hwgen verify` saved with it.

Tested by tests/verify/test_run.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hwgen.common.json_file import read_json
from hwgen.common.strict_yaml import Read, Strict, validate
from sim.job import CASE, Timing

__all__ = ["IMAGES", "setting"]

IMAGES = 4


Cycles = Annotated[int, Field(ge=0, lt=1 << 31)]


class _Timing(Strict):
    """`Timing`, as a file has it."""

    latency: Cycles
    stall_percent: Annotated[int, Field(ge=0, le=99)]
    seed: Cycles
    watchdog: Cycles
    longest_burst: Annotated[int, Field(ge=1, le=256)]
    jitter: Cycles
    weight_latency: list[Cycles]


class _Case(Read):
    timing: _Timing
    images: Annotated[int, Field(ge=1, le=1 << 16)]


def setting(folder: Path, images: int | None = None, **timing: int | None) -> tuple[int, Timing]:
    """How many images, and the memory: what is not None is asked for."""
    path = folder / CASE
    usual, count = Timing(), IMAGES
    if path.exists():
        mend = "remove the file to simulate the build as any other"
        case = validate(_Case, read_json(path, "a case of `hwgen verify`", mend), str(path))
        facts = case.timing.model_dump()
        usual, count = Timing(**facts | {"weight_latency": tuple(case.timing.weight_latency)}), case.images
    asked: dict[str, Any] = {name: value for name, value in timing.items() if value is not None}
    return images or count, replace(usual, **asked)
