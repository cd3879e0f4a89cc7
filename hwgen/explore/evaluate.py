"""What a design costs and gives: resources from its parameters, cycles from its program; nothing is simulated."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.compiler import compile_model
from hwgen.config import Project, load_project
from hwgen.estimate.board import attach, estimates
from hwgen.estimate.resources import estimate_resources, total
from hwgen.explore.space import Point, configuration
from hwgen.machine.devices import RESOURCES, find_board
from hwgen.network.description import Description
from hwgen.network.macs import macs

__all__ = ["ENERGY", "Design", "Setting", "evaluate", "narrowed"]

#: Picojoules of a proxy for energy, to compare designs, not to predict watts: of a byte of DRAM, of a MAC of the array
#: (idle lanes of a step count too), of a cycle of a DSP that is there.
ENERGY = {"byte": 100.0, "mac": 0.5, "dsp_cycle": 0.05}


@dataclass(frozen=True)
class Setting:
    """What all designs of an exploration share: the configuration's file, the memory's latency in cycles, the board if
    there is one, the clock in MHz."""

    config: str
    latency: int
    board: str | None
    mhz: float


@dataclass(frozen=True)
class Design:
    """A point with its figures, per image. refused: why there are none. fits: on the board's device.

    cycles: mean of the tasks; ms: from the start of a run to its end, all images of its batch; fps: images per second;
    utilization: useful MACs of all possible ones; energy_uj: by `ENERGY`."""

    point: Point
    refused: str = ""
    fits: bool = True
    resources: dict[str, float] = field(default_factory=dict)
    cycles: float = 0.0
    tasks: dict[str, float] = field(default_factory=dict)
    ms: float = 0.0
    fps: float = 0.0
    utilization: float = 0.0
    dram_bytes: float = 0.0
    energy_uj: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether it is one to choose from."""
        return not self.refused and self.fits

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Design:
        return cls(**data | {"point": Point(**data["point"])})


def evaluate(setting: Setting, point: Point) -> Design:
    """A design that cannot be is a result, too. One that does not fit the device is not looked at any further."""
    project = _project(setting.config)
    board = find_board(setting.board) if setting.board else None
    try:
        p = project.with_config(configuration(project.config, point, board))
        need = total(estimate_resources(p, board.device.family if board else "xcup"))
        resources = {name: round(getattr(need, name), 1) for name in RESOURCES}
        if board and need.over(board.device):
            return Design(point, fits=False, resources=resources)
        on = attach(p, board, 1e6 * setting.mhz) if board else None
        desc = _described(setting.config, point.model, point.weight_bits)
        compiled = compile_model(desc, p, point.batch)
    except HwgenError as error:
        return Design(point, refused=f"{error.key or error.where}: {error.expected}, not {error.found}")
    guesses = estimates(compiled, p, latency=setting.latency, on=on)
    cycles = float(np.mean([guess.cycles for guess in guesses.values()])) / point.batch
    moved = float(np.mean([sum(guess.dram_bytes.values()) for guess in guesses.values()])) / point.batch
    steps = float(np.mean([guess.array_busy for guess in guesses.values()])) / point.batch
    useful = float(np.mean([macs(desc, task) for task in guesses]))
    energy = ENERGY["byte"] * moved + ENERGY["mac"] * steps * p.macs + ENERGY["dsp_cycle"] * cycles * need.dsp
    return Design(
        point, resources=resources, cycles=cycles,
        tasks={task: guess.cycles / point.batch for task, guess in guesses.items()},
        ms=cycles * point.batch / setting.mhz / 1e3, fps=1e6 * setting.mhz / cycles,
        utilization=useful / (cycles * p.macs), dram_bytes=moved, energy_uj=energy / 1e6,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _project(path: str) -> Project:
    """Read once by each process."""
    return load_project(Path(path))


@lru_cache(maxsize=8)
def _described(path: str, model: str, bits: int | None) -> Description:
    desc = _project(path).model(model)
    return desc if bits is None else narrowed(desc, bits)


def narrowed(desc: Description, bits: int) -> Description:
    """With all weights of so many bits: what it would cost, not what it would compute. Weights beyond their range are
    cut off."""
    names = [name.removesuffix(".weight") for name in desc.tensors if name.endswith(".weight")]
    tensors = dict(desc.tensors)
    if bits < 8:
        for name in names:
            tensors[f"{name}.weight"] = np.clip(tensors[f"{name}.weight"], 1 - (1 << bits - 1), (1 << bits - 1) - 1)
    chosen = dict.fromkeys(names, bits) if bits < 8 else {}
    return replace(desc, model=desc.model.model_copy(update={"weight_bits": chosen}), tensors=tensors)
