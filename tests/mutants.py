"""Errors put into the generator on purpose, for tests that must find them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.paths import ROOT

__all__ = ["copied_generator"]


def copied_generator(home: Path, file: str, old: str, new: str) -> None:
    """A copy of it in `home`, in one file of `hwgen/rtl` (named without its ending) a text replaced."""
    for part in ("hwgen", "templates"):
        shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = home / "hwgen" / "rtl" / f"{file}.py"
    source.write_text(source.read_text().replace(old, new))
