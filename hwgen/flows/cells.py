"""Cells of mapped netlists: what each takes of a device, and which are logic between registers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hwgen.machine.devices import Usage

__all__ = ["latches", "logic", "luts", "usage"]

_AMD = {
    **{f"LUT{inputs}": Usage(lut=1) for inputs in range(1, 7)},
    **{name: Usage(lut=luts) for name, luts in {
        "SRL16E": 1, "SRLC32E": 1, "RAM32X16DR8": 8, "RAM64X8SW": 8, "RAM32M": 4, "RAM32M16": 8, "RAM64M": 4,
        "RAM64M8": 8, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4,
        "RAM512X1S": 8,
    }.items()},
    **{name: Usage(ff=1) for name in ("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE")},
    **{name: Usage(dsp=1) for name in ("DSP48E1", "DSP48E2")},
    **{f"RAMB{size}E{series}": Usage(bram36=size / 36) for size in (18, 36) for series in (1, 2)},
    "URAM288": Usage(uram=1),
}  # fmt: skip
#: Four LUTs of a distributed RAM hold its bits, two more drive its write port. Their block RAMs have 18 Kbit.
_LATTICE = {
    "LUT4": Usage(lut=1), "CCU2C": Usage(lut=2), "CCU2": Usage(lut=2), "WIDEFN9": Usage(lut=2),
    **{name: Usage(lut=6) for name in ("TRELLIS_DPR16X4", "DPR16X4")},
    **{name: Usage(ff=1) for name in ("TRELLIS_FF", "FD1P3BX", "FD1P3DX", "FD1P3IX", "FD1P3JX")},
    **{name: Usage(bram36=0.5) for name in ("DP16KD", "PDPW16KD", "DP16K", "PDP16K", "PDPSC16K", "SP16K")},
    "MULT18X18D": Usage(dsp=1), "MULT9X9": Usage(dsp=0.5), "MULT18X18": Usage(dsp=1), "MULT18X36": Usage(dsp=2),
    "MULT36X36": Usage(dsp=4),
}  # fmt: skip
_TABLE = _AMD | _LATTICE
#: What would be missed if it were not in the table.
_COUNTED = re.compile(r"LUT\d|S?RAM|SRL|DSP|MULT|FD[A-Z]|DP\d|PDP|DPR|URAM|TRELLIS_|CCU2")
_LATCH = re.compile(r"LD[CP]E$|\$_DLATCH|\$_SR_")
#: LUTs, and what lies beside them between registers.
_LUT = re.compile(r"LUT\d$|WIDEFN9$")
_BESIDE = re.compile(r"(CARRY[48]|MUXF[789]|MUXCY|XORCY|INV|CCU2C?|PFUMX|L6MUX21)$")


def usage(cells: Mapping[str, int]) -> Usage:
    """What cells (type → how many) take. Raises ValueError for one that takes something and is not in the table."""
    total = Usage()
    for name, count in cells.items():
        if name in _TABLE:
            total += _TABLE[name] * count
        elif _COUNTED.match(name):
            raise ValueError(f"what does a {name} take of the device?")
    return total


def latches(cells: Mapping[str, int]) -> int:
    return sum(count for name, count in cells.items() if _LATCH.match(name))


def luts(name: str) -> int:
    """LUTs that a signal passes in this cell."""
    return int(bool(_LUT.match(name)))


def logic(name: str) -> bool:
    """Whether outputs follow inputs without a clock; reads of distributed RAM begin paths, multipliers end them."""
    return bool(_LUT.match(name) or _BESIDE.match(name))
