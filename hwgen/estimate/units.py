"""The units whose resources are estimated one by one: which modules are whose, what each grows with."""

from __future__ import annotations

import re

from hwgen.machine.params import HwParams

__all__ = ["BESIDE", "REST", "UNITS", "features", "fitted", "unit_of"]

#: Modules below the datapath that are units; the rest of the datapath, and what lies beside it, are two more.
_OWN = ("array", "post", "softmax", "norm", "router", "issue")
REST, BESIDE = "datapath", "control"
UNITS = (*_OWN, REST, BESIDE)


def unit_of(module: str) -> str:
    """The unit of a module, by its place in the hierarchy: core.datapath.array.pair0."""
    path = re.split(r"[._]", module)
    if path[:2] != ["core", "datapath"]:
        return BESIDE
    return path[2] if len(path) > 2 and path[2] in _OWN else REST


def features(unit: str, p: HwParams) -> dict[str, float]:
    """What LUTs and flip-flops of a unit are proportional to, memories apart."""
    t, c, k, word = p.t, p.c, p.k, p.word
    lanes = min(c, p.max_experts)
    grows: dict[str, dict[str, float]] = {
        "array": {"t·c": t * c, "t·c·k": t * c * k, "t·k": t * k, "c·k": c * k},
        "post": {"c": c},
        "softmax": {"t·k": t * k, "t": t, "c": c, "t·word": t * word},
        "norm": {"c": c},
        "router": {"lanes": lanes, "experts·row bits": p.max_experts * p.row_bits},
        "issue": {"row bits": p.row_bits},
        REST: {"t·word": t * word, "c·word": c * word, "c·k": c * k, "c": c, "data bus": p.data_bus},
        BESIDE: {"weight bus": p.weight_bus, "ring": 8 * p.ring_bytes, "data bus": p.data_bus,
                 "queue": p.instruction_queue, "other ports": p.weight_ports - 1,
                 "lanes": p.weight_bus if p.weight_ports > 1 else 0},
    }  # fmt: skip
    return {"1": 1, **grows[unit]}


def fitted(unit: str, p: HwParams) -> str:
    """The row of the fit: the array is another one where two tokens share a multiplier."""
    return f"array of {p.multiplier_bits} bits" if unit == "array" else unit
