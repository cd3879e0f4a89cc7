"""The harness as a board, on the stand-in of the accelerator."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwgen.machine.regmap import BY_NAME
from sim import board as module
from sim import pynq
from sim.board import MEMORY_BYTES, Board
from sim.harness import SimulationError
from tests.paths import ROOT
from tests.sim.test_harness import INPUT, WEIGHT, build

OFFSET = {name: register.offset for name, register in BY_NAME.items()}


@pytest.fixture
def board() -> Iterator[Board]:
    with Board(build()) as simulated:
        yield simulated


def test_one_host_after_another(board: Board) -> None:
    """What one has written, the next one finds; a run by hand."""
    with board.connect() as link:
        origin = link.origin
        link.write(origin, WEIGHT.to_bytes(64, "little"))
        link.write(origin + 64, INPUT.tobytes())
        assert link.read(origin + 64, 32) == INPUT.tobytes()
    with board.connect() as link:
        assert int.from_bytes(link.read(origin, 8), "little") == WEIGHT
        for name, address in (("weights_base", origin), ("input_base", origin + 64), ("output_base", origin + 128)):
            for word in range(2):
                link.write32(OFFSET[name] + 4 * word, address >> 32 * word & 0xFFFF_FFFF)
        assert not link.interrupted(10)
        link.write32(OFFSET["gie"], 1)
        link.write32(OFFSET["ier"], 1)
        link.write32(OFFSET["ctrl"], 1)
        assert link.interrupted(2000)
        assert link.read(origin + 128, 32) == (INPUT + WEIGHT).tobytes()
        link.unplug()
        assert link.read32(OFFSET["cycles"]) == 0xFFFF_FFFF
    with board.connect() as link:
        assert link.read32(OFFSET["cycles"]) != 0xFFFF_FFFF


def test_it_breaks_off(board: Board) -> None:
    with board.connect() as link, pytest.raises(SimulationError, match="found:    the host leaves the memory"):
        link.read(link.origin + MEMORY_BYTES - 4, 8)


def test_allocation(board: Board) -> None:
    """Pages, the first hole that is large enough; memory that nobody has is an error, as it is on a board."""
    with pynq.plugged(board) as link:
        first, second = pynq.allocate((5000,), np.uint8), pynq.allocate((3,), "u4")
        assert (first.device_address, second.device_address) == (link.origin, link.origin + 8192)
        assert first[100:].device_address == link.origin + 100
        first[:] = 7
        assert link.read(link.origin, 4) != bytes([7] * 4)
        first.flush()
        assert link.read(link.origin, 5000) == bytes([7] * 5000)
        link.write(second.device_address, bytes(range(12)))
        second.invalidate()
        assert second[2] == 0x0B0A0908
        first.freebuffer()
        assert pynq.allocate((1,), np.uint8).device_address == link.origin
        with pytest.raises(RuntimeError, match="Failed to allocate Memory!"):
            pynq.allocate((MEMORY_BYTES,), np.uint8)
        assert sys.modules["pynq"] is pynq
    with pytest.raises(RuntimeError, match="No Devices Found"):
        pynq.allocate((1,), np.uint8)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (module.main, pynq.main):
        assert command([]) == 2
        assert capsys.readouterr().err.startswith("usage: python -m sim.")
    assert module.main([str(tmp_path)]) == pynq.main([str(tmp_path), "script.py"]) == 2
    assert capsys.readouterr().err.count("expected: a directory written by `hwgen build`") == 2


def test_it_ends_with_its_parent() -> None:
    """However that ends: the simulation reads the end of its standard input."""
    script = (
        "import os\nfrom sim.board import Board\nfrom tests.sim.test_harness import build\n"
        "board = Board(build()).__enter__()\nprint(board._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    number = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(number, 0)
            state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("still there")
