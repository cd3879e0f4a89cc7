"""Files that another file names: any text can stand there.

Tested by tests/common/test_beside.py.
"""

from __future__ import annotations

import os
from pathlib import Path

from hwgen.common.errors import HwgenError

__all__ = ["beside"]


def beside(file: Path, key: str, name: str) -> Path:
    """The path `name` that stands in `file` at `key`, relative to it. HwgenError if there can be no such file."""
    try:
        path = (file.parent / name).expanduser()
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # whoever reads it says so
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a NUL, of a user that is not there
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HwgenError(str(file), key, expected="the name of a file", found=f"{name!r}: {found}") from None
    return path
