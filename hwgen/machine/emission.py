"""How an accelerator is written as Verilog: names, debug ports, memories' first contents. Not what it computes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from hwgen.common.errors import HwgenError
from hwgen.machine.regmap import VERSION

__all__ = ["LEAF", "TOP", "Emission", "vlnv"]

#: Top module of an accelerator, and what all hand-written modules' names begin with.
TOP, LEAF = "hwgen_accelerator", "hwgen_"


@dataclass(frozen=True)
class Emission:
    """Key `rtl` of `config.yaml`."""

    prefix: str = ""  #: of the names of all modules, so that several builds can be in one design
    debug: bool = True  #: with the `debug_*` ports, which tell simulation when an instruction is done
    ram_init: bool = False  #: memories start with zeros, by an `initial` block

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)?", self.prefix):
            raise HwgenError(
                "rtl", "prefix", expected="a letter, then letters, digits or underscores", found=repr(self.prefix)
            )

    @property
    def top(self) -> str:
        """Name of the top module; that of every other module begins with it or with the prefix and `LEAF`."""
        return self.prefix + TOP

    def as_dict(self) -> dict[str, str | bool]:
        return asdict(self)


def vlnv(top: str = TOP) -> str:
    """Vendor, library, name and version of the IP with this top module, by which PYNQ binds the driver to it; the
    version is the register map's."""
    return f"hwgen:ip:{top}:{VERSION}.0"
