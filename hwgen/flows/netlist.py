"""Mapped netlists of parts, put together again: cells of each, the longest path through all, the largest nets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwgen.flows import cells

__all__ = ["Mapped", "Path", "instances", "largest_nets", "longest_path", "memories", "read"]

#: A bit of a net: a number in its part, or a constant.
Bit = int | str


@dataclass(frozen=True)
class Mapped:
    """A part: cells by type, submodules that are parts included; ports and logic, as Yosys' JSON has them."""

    name: str
    cells: Mapping[str, int]
    ports: Mapping[str, list[Bit]]
    logic: list[tuple[str, list[Bit], list[Bit]]]  #: type, nets it reads, nets it drives
    parts: list[tuple[str, str, Mapping[str, list[Bit]]]]  #: instance, part, its nets by port
    nets: Mapping[Bit, str]  #: names of nets that have one
    loads: Mapping[Bit, int]  #: pins that a net drives, those of parts and clock pins not counted


@dataclass(frozen=True)
class Path:
    """Between registers: LUTs, all cells; the nets it begins and ends with."""

    levels: int
    cells: int
    start: str
    end: str


def read(document: Mapping[str, Any], parts: Mapping[str, str]) -> Mapped:
    """The one module of a netlist. parts: types of cells that are parts → the part's name."""
    ((name, module),) = document["modules"].items()
    logic, inside = [], []
    for instance, cell in module["cells"].items():
        nets, kind = cell["connections"], cell["type"]
        if kind in parts:
            inside.append((instance, parts[kind], nets))
        elif cells.logic(kind):
            sides = cell["port_directions"]
            reads = [bit for port, bits in nets.items() if sides[port] == "input" for bit in bits]
            drives = [bit for port, bits in nets.items() if sides[port] == "output" for bit in bits]
            logic.append((kind, reads, drives))
    names = _names(module)
    counts = Counter(cell["type"] for cell in module["cells"].values())
    ports = {port: facts["bits"] for port, facts in module["ports"].items()}
    return Mapped(name, counts, ports, logic, inside, names, _loads(module, parts))


def _loads(module: Mapping[str, Any], parts: Mapping[str, str]) -> Counter[Bit]:
    loads: Counter[Bit] = Counter()
    for cell in module["cells"].values():
        if cell["type"] not in parts:
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "input" and port != "C" and "CLK" not in port:
                    loads.update(bit for bit in bits if isinstance(bit, int))
    return loads


def _names(module: Mapping[str, Any]) -> dict[Bit, str]:
    """Of nets; one without a name that a register or RAM reads gets the name of what that drives."""
    names: dict[Bit, str] = {}
    for net, facts in module["netnames"].items():
        if not facts.get("hide_name"):
            for number, bit in enumerate(facts["bits"]):
                names.setdefault(bit, f"{net}[{number}]" if len(facts["bits"]) > 1 else net)
    for cell in module["cells"].values():
        if not cells.logic(cell["type"]):
            sides = cell.get("port_directions", {})
            drives = [bit for port, bits in cell["connections"].items() if sides.get(port) == "output" for bit in bits]
            name = next((names[bit] for bit in drives if bit in names), None)
            for port, bits in cell["connections"].items() if name else ():
                if sides[port] == "input":
                    for bit in bits:
                        names.setdefault(bit, f"{name} ({cell['type']} {port})")
    return names


def instances(design: Mapping[str, Mapped], top: str) -> Counter[str]:
    """How often each part occurs below `top`, itself once."""
    found: Counter[str] = Counter({top: 1})
    for name in reversed(list(design)):  # parents come before their children
        for _, part, _ in design[name].parts:
            found[part] += found[name]
    return found


def longest_path(design: Mapping[str, Mapped], top: str) -> Path:
    """Through all parts; the one of most LUTs. Logic that feeds itself is left out."""
    graph = _Graph(design, top)
    levels, (start, end) = graph.longest(lambda kind: cells.luts(kind))
    length, _ = graph.longest(lambda kind: 1)
    return Path(levels, length, graph.name(start), graph.name(end))


def largest_nets(design: Mapping[str, Mapped], top: str, count: int = 20) -> list[tuple[str, int]]:
    """Names of the nets that drive most pins of cells, and how many; clocks not counted."""
    graph = _Graph(design, top)
    return [(graph.name(net), pins) for net, pins in graph.loads.most_common(count)]


class _Graph:
    """The logic of all instances, nets numbered through."""

    def __init__(self, design: Mapping[str, Mapped], top: str) -> None:
        self.design = design
        self.names: dict[int, str] = {}
        self.logic: list[tuple[str, list[int], list[int]]] = []
        self.loads: Counter[int] = Counter()
        self.count = 0
        self._place(design[top], "", {})

    def _place(self, part: Mapped, path: str, numbers: dict[Bit, int]) -> None:
        """An instance; numbers: of nets at its ports."""

        def number(bit: Bit) -> int:
            if bit not in numbers:
                numbers[bit] = self.count
                self.count += 1
            return numbers[bit]

        for kind, reads, drives in part.logic:
            inputs, outputs = ([number(bit) for bit in bits if isinstance(bit, int)] for bits in (reads, drives))
            self.logic.append((kind, inputs, outputs))
        for bit, pins in part.loads.items():
            self.loads[number(bit)] += pins
        for instance, name, nets in part.parts:
            inside: dict[Bit, int] = {}
            for port, bits in self.design[name].ports.items():
                for own, outer in zip(bits, nets.get(port, ())):
                    if isinstance(own, int) and isinstance(outer, int):
                        inside[own] = number(outer)
            self._place(self.design[name], f"{path}{instance}.", inside)
        for bit, name in part.nets.items():
            if bit in numbers:
                self.names[numbers[bit]] = path + name

    def longest(self, weight: Any) -> tuple[int, tuple[int, int]]:
        """Most weight on a path, its first and last net."""
        readers: defaultdict[int, list[int]] = defaultdict(list)
        driven = {net for _, _, drives in self.logic for net in drives}
        waiting = []
        for index, (_, reads, _) in enumerate(self.logic):
            sources = {net for net in reads if net in driven}
            waiting.append(len(sources))
            for net in sources:
                readers[net].append(index)
        ready = [index for index, count in enumerate(waiting) if not count]
        arrival: dict[int, tuple[int, int]] = {}  # net → weight in front of it, where it began
        best = (0, (-1, -1))
        while ready:
            kind, reads, drives = self.logic[ready.pop()]
            at, start = max((arrival.get(net, (0, net)) for net in reads), default=(0, -1))
            at += weight(kind)
            for net in drives:
                arrival[net] = at, start
                best = max(best, (at, (start, net)))
                for reader in readers[net]:
                    waiting[reader] -= 1
                    if not waiting[reader]:
                        ready.append(reader)
        return best

    def name(self, net: int) -> str:
        return self.names.get(net, "?")


def memories(dump: str) -> Iterator[int]:
    """Bits of each memory cell in Yosys' dump."""
    for cell in re.split(r"^\s*cell ", dump, flags=re.MULTILINE)[1:]:
        size, width = (re.search(rf"parameter (?:signed )?\\{name} (\S+)", cell) for name in ("SIZE", "WIDTH"))
        assert size is not None and width is not None
        yield _number(size[1]) * _number(width[1])


def _number(text: str) -> int:
    """Yosys writes 12 or 32'00...1100."""
    return int(text.split("'")[1], 2) if "'" in text else int(text)
