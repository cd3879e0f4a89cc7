"""The command line as users meet it: exit codes, one-screen messages, no tracebacks, no partial output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hwgen.network import description
from hwgen.rtl import emit
from tests.command import run_command
from tests.hollow import hollow_verilog
from tests.random_model import random_description

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hwgen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setattr(emit, "accelerator_verilog", hollow_verilog)
    return partial(run_command, monkeypatch, capsys)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A random description and a configuration of it."""
    description.save(random_description(1), tmp_path / "model")
    (tmp_path / "config.yaml").write_text("model: model\n")
    return tmp_path


@pytest.fixture
def refused(hwgen: Run, project: Path) -> Callable[..., None]:
    """A command, by default the build, must end with code 2 and `texts` on standard error; nothing is written."""

    def check(*texts: str, args: tuple[object, ...] | None = None) -> None:
        before = sorted(project.rglob("*"))
        code, out, err = hwgen(*(args or ("build", project / "config.yaml", "-o", project / "out")))
        assert code == 2, (out, err)
        assert "Traceback" not in out + err
        assert len(err.splitlines()) <= 24
        for text in texts:
            assert text in err
        assert sorted(project.rglob("*")) == before

    return check
