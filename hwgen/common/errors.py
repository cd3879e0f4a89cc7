"""The one error users see: which file and key, what was expected, what was found, how to mend it.

Tested by tests/cli/test_build.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

#: Where an error lies, if in an option.
COMMAND_LINE = "command line"
#: Characters of each fact in a message: names and values in a file from elsewhere may be of any length.
LONGEST = 1000


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
        key = _plain(self.key)
        lines = [f"{_plain(self.where)}: {key}" if key else _plain(self.where)]
        lines += [f"  expected: {_plain(self.expected)}", f"  found:    {_plain(self.found)}"]
        if self.mend:
            lines.append(f"  mend:     {_plain(self.mend)}")
        return "\n".join(lines)


def _plain(fact: str) -> str:
    """Not too long for a screen, and without characters that a terminal would obey."""
    if len(fact) > LONGEST:
        fact = f"{fact[: LONGEST // 2]} ... {fact[-LONGEST // 4 :]}"
    if fact.isprintable():
        return fact
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in fact)
