"""hwgen: an FPGA accelerator generator for quantized multi-task Vision Transformers with mixture-of-experts.

The names of `hwgen.api` are here, too (docs/python.md), read when one is first used: `import hwgen` takes no time.
Rooms of the same name, such as `hwgen.build`, are modules that can be called. Types: __init__.pyi.

Tested by tests/test_api.py.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_NAMES = ("HwgenError", "load", "project", "predict", "simulate", "resources", "designs")
_ROOMS = ("quantize", "build", "estimate", "explore")


class _Room(ModuleType):
    """A module called as the function of its name in `hwgen.api`."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        return getattr(import_module("hwgen.api"), self.__name__.rpartition(".")[2])(*args, **named)


class _Hwgen(ModuleType):
    """Python sets a room here when it is imported, whoever asks for it first."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS:
            value.__class__ = _Room
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _ROOMS:
            return import_module(f"hwgen.{name}")
        if name not in _NAMES:
            raise AttributeError(f"module 'hwgen' has no attribute {name!r}")
        return getattr(import_module("hwgen.api"), name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_NAMES, *_ROOMS})


sys.modules[__name__].__class__ = _Hwgen
