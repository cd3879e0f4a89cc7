"""The designs to look at: all combinations of what `space.yaml` lists; what it does not list is the configuration's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict, read_yaml, validate
from hwgen.config import Config, Project
from hwgen.machine.devices import Board

__all__ = ["LIMIT", "Point", "Space", "board_space", "configuration", "points", "read_space"]

#: So many designs are a mistake.
LIMIT = 100_000
Numbers = Annotated[list[int], Field(min_length=1)]
Shape = Annotated[list[int], Field(min_length=3, max_length=3)]


class Shapes(Strict):
    """Rows, columns, lanes of the array: all combinations."""

    t: Numbers
    c: Numbers
    k: Numbers


class Widths(Strict):
    """Of the AXI masters, in bits; how many carry weights."""

    weights: Numbers | None = None
    data: Numbers | None = None
    weight_ports: Numbers | None = None


class Space(Strict):
    """The whole of `space.yaml`. weight_depth: words of the weight ring; `auto`: as the models need."""

    array: Shapes | Annotated[list[Shape], Field(min_length=1)] | None = None  #: or shapes one by one, [t, c, k]
    buses: Widths = Widths()
    weight_depth: Annotated[list[int | Literal["auto"]], Field(min_length=1)] | None = None
    instruction_queue: Numbers | None = None
    batch: Numbers | None = None
    weight_bits: Annotated[list[Literal[4, 8]], Field(min_length=1)] | None = None  #: of all weights
    models: Annotated[list[str], Field(min_length=1)] | None = None


@dataclass(frozen=True)
class Point:
    """A design: the array, the buses in bits, words of the weight ring (None: as needed), instructions fetched ahead,
    images a run, bits of all weights (None: as quantized), the model's name."""

    t: int
    c: int
    k: int
    weights: int
    data: int
    weight_ports: int
    weight_depth: int | None
    instruction_queue: int | None
    batch: int
    weight_bits: int | None
    model: str

    @property
    def macs(self) -> int:
        return self.t * self.c * self.k

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_space(path: Path) -> Space:
    """Raises HwgenError that names file and key."""
    return validate(Space, read_yaml(path), str(path))


def board_space(board: Board) -> Space:
    """Every array that may be worth a look on a board, with as many of its memory's ports as weights can have."""
    port = board.ports[0]
    ports = [count for count in (1, 2, 4) if count < len(board.ports)]
    return Space(
        array=Shapes(t=[4, 8, 16, 32], c=[8, 16, 32, 64], k=[4, 8, 16, 32]),
        buses=Widths(weights=[port.bits], data=[board.ports[-1].bits], weight_ports=ports),
    )


def points(space: Space, project: Project, where: str) -> list[Point]:
    """In the order of the file's keys. Raises HwgenError for an unknown model, and where there are too many."""
    config, names = project.config, [desc.model.name for desc in project.models]
    for name in space.models or ():
        if name not in names:
            raise HwgenError(where, "models", expected=" or ".join(names), found=name,
                             mend=f"add it to `models` of {project.path}")  # fmt: skip
    axes: list[Sequence[Any]] = [
        list(_shapes(space, config)), space.buses.weights or [config.buses.weights],
        space.buses.data or [config.buses.data], space.buses.weight_ports or [config.buses.weight_ports],
        space.weight_depth or [config.buffers.weight_depth or "auto"],
        space.instruction_queue or [config.buffers.instruction_queue], space.batch or [config.batch],
        space.weight_bits or [None], space.models or names,
    ]  # fmt: skip
    count = 1
    for axis in axes:
        count *= len(axis)
    if count > LIMIT:
        raise HwgenError(where, expected=f"at most {LIMIT:,} designs", found=f"{count:,}: all combinations",
                         mend="list fewer values")  # fmt: skip
    return [
        Point(t, c, k, weights, data, ports, None if depth == "auto" else depth, queue, batch, bits, model)
        for (t, c, k), weights, data, ports, depth, queue, batch, bits, model in itertools.product(*axes)
    ]


def _shapes(space: Space, config: Config) -> Iterator[tuple[int, ...]]:
    if space.array is None:
        yield config.array.t, config.array.c, config.array.k
    elif isinstance(space.array, Shapes):
        yield from itertools.product(space.array.t, space.array.c, space.array.k)
    else:
        yield from (tuple(shape) for shape in space.array)


def configuration(config: Config, point: Point, board: Board | None) -> Config:
    """`config.yaml` of a design; on a board with its multipliers and bursts."""
    array = config.array.model_copy(update={"t": point.t, "c": point.c, "k": point.k})
    axi = config.axi
    if board is not None:
        bits = min(config.array.multiplier_bits, board.device.multiplier_bits)
        array = array.model_copy(update={"multiplier_bits": bits})
        axi = axi.model_copy(update={"burst": min(axi.burst, *(port.burst for port in board.ports))})
    buses = config.buses.model_copy(update={
        "weights": point.weights, "data": point.data, "weight_ports": point.weight_ports,
    })  # fmt: skip
    sizes = {"weight_depth": point.weight_depth, "instruction_queue": point.instruction_queue}
    return config.model_copy(update={
        "array": array, "axi": axi, "buses": buses, "batch": point.batch,
        "buffers": config.buffers.model_copy(update=sizes), "device": board.device.name if board else config.device,
    })  # fmt: skip
