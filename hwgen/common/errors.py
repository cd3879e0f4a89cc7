"""The one error users see: which file and key, what was expected, what was found, how to mend it.

Tested by tests/cli/test_build.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

#: Where an error lies, if in an option.
COMMAND_LINE = "command line"


class HwgenError(Exception):
    """Bad input or a missing tool. The command line prints it on one screen and exits with code 2."""

    def __init__(self, where: str, key: str = "", *, expected: str, found: str, mend: str = "") -> None:
        self.where = where
        self.key = key
        self.expected = expected
        self.found = found
        self.mend = mend
        super().__init__(self.text())

    def __reduce__(self) -> tuple[Callable[[], HwgenError], tuple[()]]:
        """It may come from another process."""
        facts = {"expected": self.expected, "found": self.found, "mend": self.mend}
        return partial(type(self), self.where, self.key, **facts), ()

    def text(self) -> str:
        """The message, one fact per line."""
        lines = [f"{self.where}: {self.key}" if self.key else self.where]
        lines += [f"  expected: {self.expected}", f"  found:    {self.found}"]
        if self.mend:
            lines.append(f"  mend:     {self.mend}")
        return "\n".join(lines)
