"""The accelerator, built once, and its board."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from sim import pynq
from sim.board import Board, Link, board_of
from sim.harness import Timing
from tests.driver.boards import Accelerator, made


@pytest.fixture(scope="session")
def accelerator(tmp_path_factory: pytest.TempPathFactory) -> Accelerator:
    return Accelerator(made(tmp_path_factory))


@pytest.fixture(scope="session")
def board(accelerator: Accelerator) -> Iterator[Board]:
    """One machine for all tests of a worker, as a board is one for all programs."""
    with board_of(accelerator.first, Timing(latency=30)) as simulated:
        yield simulated


@pytest.fixture
def link(board: Board) -> Iterator[Link]:
    """`import pynq` means the board while a test runs."""
    with pynq.plugged(board) as plugged:
        plugged.reset()
        yield plugged


@pytest.fixture
def importable(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The build's Python driver can be imported, anew, and is forgotten afterwards, whatever a script did."""
    python = str(accelerator.path / "driver" / "python")
    monkeypatch.setattr(sys, "path", [python, *sys.path])
    monkeypatch.setattr(sys, "argv", sys.argv)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "hwgen_driver"]:
        del sys.modules[name]


@pytest.fixture
def driver(importable: None, link: Link) -> ModuleType:
    import hwgen_driver

    return hwgen_driver


@pytest.fixture
def acc(driver: ModuleType, accelerator: Accelerator) -> Iterator:
    """The accelerator with the first model loaded."""
    with driver.HwgenOverlay("design.bit", accelerator.path) as opened:
        yield opened
