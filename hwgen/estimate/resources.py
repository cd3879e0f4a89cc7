"""What an accelerator takes of a device, without any tool: multipliers and RAMs counted, LUTs and flip-flops fitted.

The fit, resources.yaml, is made by `python -m bench.resources` from what Yosys makes of many shapes; it says LUTs and
flip-flops per feature of a unit (`units.py`), memories apart, and how other families differ from UltraScale+.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hwgen.common.strict_yaml import read_yaml
from hwgen.estimate.memories import memories, tiled
from hwgen.estimate.multipliers import multipliers
from hwgen.estimate.units import UNITS, features, fitted
from hwgen.machine.devices import Device, Usage
from hwgen.machine.params import HwParams
from hwgen.rtl.common.ram import ram_style

__all__ = ["TABLE", "estimate_resources", "first_fitting", "known_part", "total"]

TABLE = Path(__file__).with_suffix(".yaml")


@cache
def _table() -> dict[str, Any]:
    return read_yaml(TABLE)  # type: ignore[return-value]


def known_part(p: HwParams, family: str) -> dict[str, Usage]:
    """Unit → what can be counted: multipliers, and the memories, in the style that the Verilog asks for, with the LUTs
    and flip-flops that they take."""
    found = {unit: Usage(dsp=count) for unit, count in multipliers(p).items()}
    for memory in memories(p):
        style = ram_style(memory.width, memory.depth, memory.grain, ultra_ram=p.ultra_ram)
        found[memory.unit] += tiled(memory, ultra=p.ultra_ram, family=family, style=style)
    return found


def estimate_resources(p: HwParams, family: str = "xcup") -> dict[str, Usage]:
    """Unit → what it takes of a device of this family."""
    table, known = _table(), known_part(p, family)
    found = {}
    for unit in UNITS:
        row, share = table["units"][fitted(unit, p)], table["families"][family]
        more = {
            name: round(share[name] * sum(row[name][key] * value for key, value in features(unit, p).items()))
            for name in ("lut", "ff")
        }
        found[unit] = known[unit] + Usage(**more)
    return found


def total(units: dict[str, Usage]) -> Usage:
    return sum(units.values(), Usage())


def first_fitting(candidates: Iterable[HwParams], device: Device) -> HwParams | None:
    """The first that the device has enough for."""
    for p in candidates:
        need = total(estimate_resources(p, device.family))
        if not need.over(device) and p.multiplier_bits <= device.multiplier_bits:
            return p
    return None
