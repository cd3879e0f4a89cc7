"""Messages fit a screen, whatever a file from elsewhere calls its things."""

from hwgen.common.errors import LONGEST, HwgenError


def test_long_and_strange_names():
    text = HwgenError("a", "\x1b[31m\ud800é", expected="x" * 10**6, found="y\nz", mend="").text()
    assert text.splitlines()[0] == r"a: \x1b[31m\ud800é"
    assert text.splitlines()[1].startswith("  expected: xxx") and len(text) < LONGEST + 200
    assert text.endswith("y\nz")
