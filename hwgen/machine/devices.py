"""FPGAs and boards: what they have, and how an accelerator reaches a board's memory. The figures: devices.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.common.strict_yaml import read_yaml

__all__ = ["RESOURCES", "Board", "BoardPort", "Device", "Usage", "boards", "devices", "find", "find_board",
           "find_device"]  # fmt: skip

#: What a device has so many of.
RESOURCES = ("dsp", "lut", "ff", "bram36", "uram")


@dataclass(frozen=True)
class Usage:
    """What a design takes, or may take: half a block RAM is one of 18 Kbit."""

    dsp: float = 0
    lut: float = 0
    ff: float = 0
    bram36: float = 0
    uram: float = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in RESOURCES))

    def __mul__(self, times: float) -> Usage:
        return Usage(*(times * getattr(self, name) for name in RESOURCES))

    def over(self, device: Device) -> dict[str, float]:
        """Resources of which the device has fewer, and how many are missing."""
        missing = {name: getattr(self, name) - getattr(device, name) for name in RESOURCES}
        return {name: count for name, count in missing.items() if count > 0}


@dataclass(frozen=True)
class Device:
    """An FPGA. The unit of each count is said in devices.yaml."""

    name: str
    part: str  #: as the vendor's tools and nextpnr spell it
    family: str  #: as Yosys calls it: xcup, xc7, ecp5, nexus
    dsp: int
    lut: int
    ff: int
    bram36: int
    uram: int
    multiplier_bits: int  #: the wider operand that `HwParams.multiplier_bits` may ask for

    @property
    def memory_bytes(self) -> int:
        """Of all its block RAMs, and its UltraRAMs."""
        return 4608 * self.bram36 + 36864 * self.uram


@dataclass(frozen=True)
class BoardPort:
    """A slave port in front of a board's memory."""

    name: str
    bits: int  #: data width
    protocol: str  #: AXI3 or AXI4
    burst: int  #: beats of its longest burst
    coherent: bool = False  #: with the processor's caches


@dataclass(frozen=True)
class Board:
    """A device with memory; `ports` that are to be used first stand in front."""

    name: str
    device: Device
    board_part: str  #: as Vivado's board store spells it
    memory: str
    memory_bytes_per_second: int  #: the peak of its pins
    clock: int  #: Hz, where no other is asked for
    ports: tuple[BoardPort, ...]


@cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    return read_yaml(Path(__file__).with_suffix(".yaml"))  # type: ignore[return-value]


@cache
def devices() -> dict[str, Device]:
    """All of them by name."""
    return {name: Device(name=name, **facts) for name, facts in _table()["devices"].items()}


@cache
def boards() -> dict[str, Board]:
    """All of them by name."""
    return {
        name: Board(
            name=name,
            device=devices()[facts["device"]],
            ports=tuple(
                BoardPort(name=port, **{key: value for key, value in group.items() if key != "names"})
                for group in facts["ports"]
                for port in group["names"]
            ),
            **{key: value for key, value in facts.items() if key not in ("device", "ports")},
        )
        for name, facts in _table()["boards"].items()
    }


def find(name: str, where: str = COMMAND_LINE, key: str = "--device") -> Device | Board:
    """The device or board of this name; raises HwgenError (at `where`, `key`) that lists the known names."""
    known: dict[str, Device | Board] = {**devices(), **boards()}
    return known[_known(name, list(known), "a device or a board", where, key)]


def find_device(name: str, where: str = COMMAND_LINE, key: str = "--device") -> Device:
    """The device of this name, or of the board of this name."""
    found = find(name, where, key)
    return found.device if isinstance(found, Board) else found


def find_board(name: str, where: str = COMMAND_LINE, key: str = "--board") -> Board:
    """The board of this name; raises HwgenError (at `where`, `key`) that lists the known names."""
    return boards()[_known(name, list(boards()), "a board", where, key)]


def _known(name: str, names: list[str], what: str, where: str, key: str) -> str:
    """`name` in lower case, as the table has it."""
    if name.lower() not in names:
        raise HwgenError(where, key, expected=f"{what}: {', '.join(names)}", found=repr(name),
                         mend="others can be added to hwgen/machine/devices.yaml")  # fmt: skip
    return name.lower()
