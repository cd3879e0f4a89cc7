"""What the IP is called: PYNQ binds the driver to it.

Tested by tests/driver/test_generate.py.
"""

from __future__ import annotations

from hwgen.machine.regmap import VERSION
from hwgen.rtl.emit import TOP

__all__ = ["vlnv"]


def vlnv(top: str = TOP) -> str:
    """Vendor, library, name and version of the IP with this top module; the version is the register map's."""
    return f"hwgen:ip:{top}:{VERSION}.0"
