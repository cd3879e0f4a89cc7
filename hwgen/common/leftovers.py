"""Directories that a process killed at work leaves behind. The next one of its kind sweeps them, once they are old."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

__all__ = ["sweep"]

#: Nothing that still runs leaves its directory untouched for so long, in seconds.
AGE = 24 * 3600


def sweep(home: Path, pattern: str) -> None:
    """Remove the directories of this name in `home` in which nothing has been written for a day. What cannot be
    removed stays: it is in nobody's way."""
    for path in sorted(home.glob(pattern)):
        if path.is_dir() and not path.is_symlink() and time.time() - _touched(path) > AGE:
            shutil.rmtree(path, ignore_errors=True)


def _touched(path: Path) -> float:
    """When something in it was written last."""
    try:
        return max(one.lstat().st_mtime for one in (path, *path.rglob("*")))
    except OSError:  # someone else is at work in it
        return time.time()
