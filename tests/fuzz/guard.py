"""Reads a spoilt file with little memory and little time: success or HwgenError, anything else is a fault."""

from __future__ import annotations

import contextlib
import faulthandler
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from hwgen.common.errors import HwgenError

#: What reading a file may take beside what is there: memory in bytes, and as a multiple of the file; seconds.
MEMORY, TIMES, SECONDS = 512 << 20, 8, 5.0
#: Whoever is not interrupted by a signal either is ended, with all stacks on standard error.
STUCK = 120.0
#: Lines of a message: it fits on one screen.
LINES = 24


class Fault(AssertionError):
    """What no file may do to its reader."""


class _TooLong(BaseException):
    """Not caught by readers, which catch Exception."""


@contextlib.contextmanager
def _limited(memory: int, seconds: float) -> Iterator[None]:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(STUCK, exit=True)
    resource.setrlimit(resource.RLIMIT_AS, (size + memory, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def outcome(read: Callable[[Path], object], path: Path, allowed: type[Exception] = HwgenError) -> str | None:
    """The message of the error, None after success. Raises Fault for any other end, or too much memory or time."""
    memory = MEMORY + (TIMES * path.stat().st_size if path.is_file() else 0)
    found: BaseException | None = None
    try:
        with _limited(memory, SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
            return None
    except allowed as error:
        found = error
    except _TooLong as error:
        raise Fault(f"more than {SECONDS:g} s: {_place(error)}") from None
    except BaseException as error:
        _check_memory(error, memory)
        raise Fault(f"{type(error).__name__}: {_place(error)}") from error
    _check_memory(found, memory)
    text = found.text() if isinstance(found, HwgenError) else str(found)
    lines = text.splitlines()
    if len(lines) > LINES or max(map(len, lines), default=0) > 2000:
        raise Fault(f"a message of {len(lines)} lines, {len(text)} characters: {text[:1000]}")
    return text


def _place(error: BaseException) -> str:
    """Where it was raised, and a text of bounded length."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/hwgen/" in frame.filename] or list(frames)
    text = str(error.args[0])[:200] if error.args and isinstance(error.args[0], str) else ""
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {text}"


def _check_memory(error: BaseException, memory: int) -> None:
    """An allocation that was refused and then taken for a broken file."""
    one: BaseException | None = error
    seen: set[int] = set()  # the chain may be a ring
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        torchs = type(one) is RuntimeError and "can't allocate" in str(one)
        if isinstance(one, MemoryError) or torchs:
            raise Fault(f"more than {memory >> 20} MB: {type(one).__name__}") from error
        one = one.__cause__ or one.__context__
