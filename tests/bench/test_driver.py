"""What a run costs the host: within the limits, and measured, not assumed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from bench import driver
from hwgen.rtl import emit
from tests.hollow import hollow_verilog


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(emit, "accelerator_verilog", hollow_verilog)
    return driver.build(driver.EXAMPLE, tmp_path / "out").path


def test_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = driver.python_seconds(home, 100)
    assert 1e-6 < quick < driver.LIMITS["Python"]


    def slow(self: object) -> None:
        begin = time.process_time()
        while time.process_time() < begin + 2e-3:
            pass

    monkeypatch.setattr(driver._Buffer, "flush", slow)
    assert driver.python_seconds(home, 5) > driver.LIMITS["Python"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_c(home: Path) -> None:
    assert 1e-8 < driver.c_seconds(home, 5_000) < driver.LIMITS["C"]
