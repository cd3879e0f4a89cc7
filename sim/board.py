"""A board without a board: the harness serves registers and memory to a host on the other end of a socket.

`python -m sim.board BUILD` prints the socket's name; drivers in C reach it through `hwgen_simulation_open`, those in
Python through `sim.pynq`. templates/harness/serve.h has the requests.

Tested by tests/driver/test_boards.py.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from hwgen.build import Build, load_build
from hwgen.common.errors import HwgenError
from sim.harness import ORIGIN, Harness, SimulationError, Timing, build_harness

__all__ = ["MEMORY_BYTES", "Board", "Link", "board_of"]

#: Of the simulated DRAM.
MEMORY_BYTES = 64 << 20
_REQUEST = struct.Struct("<IIQ")  # operation, bytes, address
_WORD = struct.Struct("<I")


class Board:
    """A simulated board while the block lasts: `with Board(harness) as board:`. One host at a time, any number of them.

    `path`: its socket. The machine is reset at the beginning only.
    """

    def __init__(self, harness: Harness, timing: Timing | None = None) -> None:
        self.harness, self.timing = harness, timing or Timing()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        work = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hwgen-board-")))
        self.path, self._log = str(work / "socket"), work / "log"
        jobs = work / "jobs.txt"
        lines = [
            f"dram {ORIGIN} {MEMORY_BYTES}",
            *self.timing.commands,
            f"results {work / 'results.txt'}",
            f"serve {self.path}",
        ]
        jobs.write_text("\n".join([*lines, ""]))
        log = self._stack.enter_context(self._log.open("w"))
        # It ends when its standard input does: also when this process is killed.
        self._process = subprocess.Popen(
            [str(self.harness.program), str(jobs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self._process.wait()
            raise self.failure()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._stack.close()

    def failure(self) -> SimulationError:
        """What the simulation had to say when it broke off: the hardware left its memory, or broke a rule of AXI."""
        found = self._log.read_text().strip() or f"exit code {self._process.poll()}"
        return SimulationError("simulated board", expected="the simulation to go on", found=found)

    def connect(self) -> Link:
        """The board as a host in this process sees it."""
        return Link(self)


class Link:
    """A host's end of the socket; addresses and lengths are in bytes. Raises SimulationError when the other end breaks
    off."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(board.path)
        self.origin = struct.unpack("<Q", self._ask("o", answer=8))[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read32(self, offset: int) -> int:
        """A register."""
        self._ask("r", offset)
        return self._word

    def write32(self, offset: int, value: int) -> None:
        self._ask("w", offset, _WORD.pack(value))

    def read(self, address: int, size: int) -> bytes:
        """Memory, as the accelerator sees it."""
        return self._ask("R", address, answer=size)

    def write(self, address: int, data: bytes) -> None:
        self._ask("W", address, data)

    def interrupted(self, cycles: int) -> bool:
        """Whether the interrupt line is high within so many cycles."""
        self._ask("i", cycles)
        return bool(self._word)

    def fault(self, port: int, beat: int) -> None:
        """Answer that beat with an error, counted from now; ports as in `Job.fault`."""
        self._ask("f", port, _WORD.pack(beat))

    def mute(self, mute: bool = True) -> None:
        """Whether the memory answers nothing at all."""
        self._ask("m", int(mute))

    def unplug(self, unplug: bool = True) -> None:
        """Whether registers read as all ones, as a card that was taken out does."""
        self._ask("u", int(unplug))

    def reset(self) -> None:
        """Of the accelerator: registers are zero, nothing runs."""
        self._ask("z")

    def _ask(self, operation: str, address: int = 0, data: bytes = b"", *, answer: int = 0) -> bytes:
        """`answer`: bytes behind the answer's word."""
        try:
            self._socket.sendall(_REQUEST.pack(ord(operation), len(data) or answer, address) + data)
            (self._word,) = _WORD.unpack(self._receive(_WORD.size))
            return self._receive(answer)
        except OSError:
            raise self._board.failure() from None

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return bytes(data)


def board_of(build: Build, timing: Timing | None = None) -> Board:
    """The board of a build; compiles its harness if that is not in the cache."""
    harness = build_harness(
        build.verilog, header=build.header, sources=build.path / "harness", emission=build.emission
    )
    return Board(harness, timing)


def main(arguments: list[str]) -> int:
    """Serve until standard input ends."""
    if len(arguments) != 1:
        print("usage: python -m sim.board BUILD", file=sys.stderr)
        return 2
    try:
        with board_of(load_build(Path(arguments[0]))) as board:
            print(board.path, flush=True)
            sys.stdin.read()
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
