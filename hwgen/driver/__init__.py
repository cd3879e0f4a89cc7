"""`BUILD/driver`: a driver for PYNQ, one in C, both from the register table, the memory maps and templates/driver."""

from __future__ import annotations

from hwgen.driver.generate import write_driver

__all__ = ["write_driver"]
