"""Reading the JSON files of others: whatever is in them, it is content or a HwgenError.

Tested by tests/common/test_json_file.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hwgen.common.errors import HwgenError

__all__ = ["read_json"]


def read_json(path: Path, expected: str = "a readable JSON file", mend: str = "correct or remove it") -> Any:
    """What the file holds. `expected` and `mend`: of the error."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        found = error.strerror or str(error)
    except RecursionError:
        found = "lists or mappings in one another, too deep"
    except ValueError as error:  # of the syntax, the encoding, numbers of too many digits
        found = str(error)
    raise HwgenError(str(path), expected=expected, found=found, mend=mend)
