"""The generated C driver: on the Verilated accelerator under sanitizers, cross-compiled in QEMU, on fakes of devices."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hwgen.machine.isa import Op
from sim.board import Board
from tests.driver.boards import SECOND, Accelerator
from tests.driver.c_programs import AARCH64, HERE, QEMU, SANITIZE, STRICT, compile_c, missing, run_cases
from tests.paths import MNIST

pytestmark = pytest.mark.skipif(missing("gcc"), reason="no C compiler")


@pytest.fixture(scope="session")
def sources(accelerator: Accelerator) -> Path:
    return accelerator.path / "driver" / "c"


@pytest.fixture(scope="session")
def data(accelerator: Accelerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What board_cases.c reads."""
    home = tmp_path_factory.mktemp("data")
    (home / "images.bin").write_bytes(accelerator.images.tobytes())
    (home / "digits.bin").write_bytes(accelerator.digits.tobytes())
    (home / "second.bin").write_bytes(accelerator.digit_outputs["digit"].astype("<i2").tobytes())
    for task, outputs in accelerator.outputs.items():
        (home / f"{task}.bin").write_bytes(outputs.astype("<i2").tobytes())
    for name, program in {
        "opcode": accelerator.patched(Op.IMAGE, op=0xFF),
        "field": accelerator.patched(Op.NORM, tiles=0),
        "not_fetched": accelerator.patched(Op.MATMUL, bytes=0, offset=0),
        "endless": accelerator.patched(Op.ATTENTION, k_steps=0xFFFF, tiles=0xFFFF),
    }.items():
        (home / f"{name}.bin").write_bytes(program)
    return home


def test_on_the_board(accelerator: Accelerator, board: Board, sources: Path, data: Path, tmp_path: Path) -> None:
    """Outputs of two models, every status that a host or a board can provoke; address and undefined-behaviour
    sanitizers watch."""
    program = compile_c(sources, [HERE / "board_cases.c"], tmp_path / "cases", *SANITIZE)
    done = run_cases(program, board.path, accelerator.path, data, "second")
    assert {"the batch's bytes", "the second model's bytes", "endless.bin", "it still owes data"} <= set(done)


@pytest.mark.skipif(missing(AARCH64, QEMU), reason=f"no {AARCH64} or no {QEMU}")
def test_on_the_board_from_aarch64(accelerator: Accelerator, board: Board, sources: Path, data: Path,
                                   tmp_path: Path) -> None:  # fmt: skip
    """The processor of a board talks to the same simulation."""
    program = compile_c(sources, [HERE / "board_cases.c"], tmp_path / "cases", "-O2", "-static", compiler=AARCH64)
    assert "the batch's bytes" in run_cases(QEMU, program, board.path, accelerator.path, data)
