"""Netlists of parts put together: instances, the longest path through several of them, memories in dumps."""

from __future__ import annotations

from typing import Any

from hwgen.flows.netlist import instances, largest_nets, longest_path, memories, read

SIDES = {"I": "input", "J": "input", "D": "input", "C": "input", "O": "output", "Q": "output"}


def cell(kind: str, **nets: int) -> dict[str, Any]:
    return {"type": kind, "port_directions": {port: SIDES[port] for port in nets},
            "connections": {port: [net] for port, net in nets.items()}}  # fmt: skip


def document(name: str, cells: dict[str, Any], ports: dict[str, int], nets: dict[str, list[int]]) -> dict[str, Any]:
    return {"modules": {name: {
        "cells": cells, "ports": {port: {"bits": [net]} for port, net in ports.items()},
        "netnames": {net: {"bits": bits, "hide_name": 0} for net, bits in nets.items()},
    }}}  # fmt: skip


#: Two LUTs in a row from port to port, and a carry that leads to a register only.
CHILD = document(
    "child",
    {"l0": cell("LUT2", I=2, O=3), "l1": cell("LUT3", I=3, O=4), "c": cell("CARRY4", I=3, O=5),
     "r": cell("FDRE", D=5, Q=6)},
    {"in": 2, "out": 4}, {"in": [2], "out": [4], "sum": [6]},
)  # fmt: skip
#: From a register through one LUT and two children into another register.
TOP = document(
    "top",
    {"from": cell("FDRE", D=20, Q=10), "l": cell("LUT1", I=10, O=11),
     "a": {"type": "child", "connections": {"in": [11], "out": [12]}},
     "b": {"type": "child", "connections": {"in": [12], "out": [13]}},
     "to": cell("FDRE", D=13, Q=14)},
    {}, {"begin": [9, 10], "end": [14]},
)  # fmt: skip


def design() -> dict[str, Any]:
    parts = {"child": "child"}
    return {name: read(text, parts) for name, text in (("child", CHILD), ("top", TOP))}


def test_a_path_through_parts() -> None:
    path = longest_path(design(), "top")
    assert (path.levels, path.cells) == (5, 5)
    assert (path.start, path.end) == ("begin[1]", "end (FDRE D)")


def test_carries_count_as_cells_and_not_as_levels() -> None:
    child = {"child": design()["child"]}
    assert (longest_path(child, "child").levels, longest_path(child, "child").cells) == (2, 2)
    longer = document("child", CHILD["modules"]["child"]["cells"] | {
        "d": cell("CARRY4", I=5, O=7), "s": cell("FDRE", D=7, Q=8),
    }, {"in": 2, "out": 4}, {"sum": [8]})  # fmt: skip
    path = longest_path({"child": read(longer, {})}, "child")
    assert (path.levels, path.cells) == (2, 3)


def test_logic_that_feeds_itself_is_left_out() -> None:
    cells = {"a": cell("LUT2", I=2, J=4, O=3), "b": cell("LUT2", I=3, O=4), "c": cell("LUT1", I=2, O=5)}
    loop = document("loop", cells, {"in": 2}, {})
    assert longest_path({"loop": read(loop, {})}, "loop").levels == 1


def test_largest_nets() -> None:
    """Through all parts; a port of a part is no load, nor is a clock."""
    cells = {f"f{n}": cell("FDRE", D=6, C=8, Q=20 + n) for n in range(3)} | {"r": cell("FDRE", D=3, C=8, Q=6)}
    child = document("child", cells | {"l": cell("LUT2", I=6, J=2, O=3)}, {"in": 2}, {"value": [6], "in": [2]})
    top = document("top", {
        "from": cell("FDRE", D=3, Q=10), "l": cell("LUT1", I=10, O=11),
        "a": {"type": "child", "connections": {"in": [10]}}, "b": {"type": "child", "connections": {"in": [10]}},
    }, {}, {"shared": [10]})  # fmt: skip
    found = {"child": read(child, {}), "top": read(top, {"child": "child"})}
    assert largest_nets(found, "top", 3) == [("a.value", 4), ("b.value", 4), ("shared", 3)]


def test_instances() -> None:
    middle = document("middle", {n: {"type": "child", "connections": {}} for n in "xyz"}, {}, {})
    top = document("top", {n: {"type": "middle", "connections": {}} for n in "ab"}, {}, {})
    parts = {"child": "child", "middle": "middle"}
    found = {name: read(text, parts) for name, text in (("child", CHILD), ("middle", middle), ("top", top))}
    assert instances(found, "top") == {"top": 1, "middle": 2, "child": 6}


def test_memories() -> None:
    text = "  cell $mem_v2 \\m\n    parameter \\SIZE {}\n    parameter signed \\WIDTH {}\n  end\n"
    assert list(memories(text.format("32'00000101", "12") + text.format("7", "3"))) == [60, 21]
    assert list(memories("")) == []
