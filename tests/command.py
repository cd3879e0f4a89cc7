"""The command line in this process."""

import sys

import pytest

from hwgen import cli


def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: object
) -> tuple[int, str, str]:
    """`hwgen args`: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["hwgen", *map(str, args)])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
