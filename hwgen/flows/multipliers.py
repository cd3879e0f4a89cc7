"""Registers around multipliers into the multipliers, in a netlist for ECP5: Yosys leaves them in the fabric.

A MULT18X18D has registers at both operands and at the product. Operand registers are taken in when flip-flops without
enable drive all bits of both operands that are not constant; a flip-flop that others read too stays as well. The
product's is taken in when flip-flops without enable and reset, and nothing else, read it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

__all__ = ["pack_multipliers"]

Cell = dict[str, Any]
Readers = defaultdict[Any, list[tuple[str, str]]]

FLIP_FLOP, MULTIPLIER, WIDTH = "TRELLIS_FF", "MULT18X18D", 18
#: A bit of a Yosys netlist is a number or a constant.
CONSTANTS = ("0", "1", "x")


def pack_multipliers(netlist: dict[str, Any], top: str) -> dict[str, int]:
    """Changes Yosys' JSON in place; returns how many operands and products were taken in."""
    module = netlist["modules"][top]
    cells: dict[str, Cell] = module["cells"]
    outputs = [bit for port in module["ports"].values() if port["direction"] == "output" for bit in port["bits"]]
    readers: Readers = defaultdict(list)
    driver: dict[Any, str] = {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][port] == "input":
                    readers[bit].append((name, port))
                elif cell["type"] == FLIP_FLOP:
                    driver[bit] = name
    for bit in outputs:
        readers[bit].append(("", "output"))
    done = {"operands": 0, "products": 0}
    for name, cell in list(cells.items()):
        if cell["type"] != MULTIPLIER:
            continue
        clocks = {_operand(cells, driver, cell, side) for side in "AB"}
        if len(clocks) != 1 or None in clocks:  # the timing of nextpnr knows both registers or neither
            continue
        (clock,) = clocks
        product = _product(cells, readers, cell, clock)
        _enable(cell, clock, "INPUTA", "INPUTB", *(["OUTPUT"] if product else []))
        for side in "AB":
            for index in range(WIDTH):
                (bit,) = cell["connections"][f"{side}{index}"]
                if bit not in CONSTANTS:
                    source = _input(cells, readers, driver[bit])
                    cell["connections"][f"{side}{index}"] = [source]
                    readers[bit].remove((name, f"{side}{index}"))
                    readers[source].append((name, f"{side}{index}"))
        done["operands"] += 2
        if product:
            done["products"] += 1
            for port, flip_flop in product.items():
                cell["connections"][port] = q = cells.pop(flip_flop)["connections"]["Q"]
                del driver[q[0]]
    _sweep(cells, readers)
    return done


def _clock(cell: Cell) -> Any:
    """The clock of a flip-flop that takes its input in every cycle, unless it is cleared to 0; else None."""
    connections, parameters = cell["connections"], cell["parameters"]
    always = parameters.get("CEMUX", "1").strip() == "1" or connections.get("CE") == ["1"]
    usual = (parameters.get("CLKMUX", "CLK"), parameters.get("LSRMUX", "LSR")) == ("CLK", "LSR")
    cleared = parameters.get("SRMODE") == "LSR_OVER_CE" and parameters.get("REGSET") == "RESET"
    free = connections.get("LSR", ["0"]) == ["0"] or cleared
    return connections["CLK"][0] if cell["type"] == FLIP_FLOP and always and usual and free else None


def _input(cells: dict[str, Cell], readers: Readers, name: str) -> Any:
    """The net of what the flip-flop takes: its input, or a LUT of that and its clear."""
    connections = cells[name]["connections"]
    (data,), (clear,) = connections["DI"], connections.get("LSR", ["0"])
    if clear == "0":
        return data
    lut = f"{name}_cleared"
    if lut not in cells:
        new = max(bit for bit in readers if isinstance(bit, int)) + 1
        nets = {"A": [data], "B": [clear], "C": ["0"], "D": ["0"], "Z": [new]}
        cells[lut] = {
            "hide_name": 1, "type": "LUT4", "parameters": {"INIT": "0010" * 4}, "attributes": {},
            "port_directions": {port: "output" if port == "Z" else "input" for port in nets}, "connections": nets,
        }  # fmt: skip
        readers[data].append((lut, "A"))
        readers[clear].append((lut, "B"))
        readers[new] = []
    return cells[lut]["connections"]["Z"][0]


def _operand(cells: dict[str, Cell], driver: dict[Any, str], cell: Cell, side: str) -> Any:
    """The clock of the flip-flops behind an operand, None if there are other sources."""
    bits = {cell["connections"][f"{side}{index}"][0] for index in range(WIDTH)} - set(CONSTANTS)
    clocks = {_clock(cells[driver[bit]]) if bit in driver else None for bit in bits}
    return clocks.pop() if len(clocks) == 1 else None


def _product(cells: dict[str, Cell], readers: Readers, cell: Cell, clock: Any) -> dict[str, str]:
    """Port → its flip-flop, if every product bit that is read has one, and no other reader."""
    found = {}
    for index in range(2 * WIDTH):
        (bit,) = cell["connections"].get(f"P{index}", ["x"])
        if not readers[bit]:
            continue
        if len(readers[bit]) != 1:
            return {}
        ((name, port),) = readers[bit]
        if port != "DI" or _clock(cells[name]) != clock or cells[name]["connections"].get("LSR", ["0"]) != ["0"]:
            return {}
        found[f"P{index}"] = name
    return found


def _enable(cell: Cell, clock: Any, *registers: str) -> None:
    for register in registers:
        cell["parameters"] |= {
            f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": "CE0", f"REG_{register}_RST": "RST0",
        }  # fmt: skip
    for port, bit in (("CLK0", clock), ("CE0", "1"), ("RST0", "0")):
        cell["connections"][port] = [bit]
        cell["port_directions"][port] = "input"


def _sweep(cells: dict[str, Cell], readers: Readers) -> None:
    """Removes the flip-flops that nothing reads any more."""
    for name in [name for name, cell in cells.items() if cell["type"] == FLIP_FLOP]:
        while name in cells and cells[name]["type"] == FLIP_FLOP and not readers[cells[name]["connections"]["Q"][0]]:
            connections = cells.pop(name)["connections"]
            for port in ("DI", "CE", "LSR", "CLK", "M"):
                for bit in connections.get(port, []):
                    if (name, port) in readers[bit]:
                        readers[bit].remove((name, port))
            break
