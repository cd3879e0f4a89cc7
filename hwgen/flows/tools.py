"""Running synthesis tools so that nothing is done twice and nothing is left half done."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hwgen.common.errors import HwgenError
from hwgen.common.leftovers import sweep
from hwgen.common.toolchain import cache_dir, lock
from hwgen.common.tools import Tool

__all__ = ["in_parallel", "step"]

LAST_LINES = 12

Item = TypeVar("Item")
Result = TypeVar("Result")


def step(tool: Tool, arguments: Sequence[str], inputs: Mapping[str, str], results: Sequence[str]) -> Path:
    """The directory with what `tool` makes of files `inputs` (path → contents): `results` beside them, and log.txt.

    It is run there, in the user's cache, unless it has been run on the same contents before. The directory appears when
    the tool has ended well. Otherwise: HwgenError with the last lines of what it said.
    """
    key = hashlib.sha256(repr((tool.name, tool.version, *arguments, *sorted(inputs.items()))).encode())
    home = cache_dir() / "synth" / key.hexdigest()[:24]
    with lock(home.with_suffix(".lock")):
        sweep(home.parent, "*.*")
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=home.parent, prefix=f"{home.name}.") as work:
                inside = Path(work) / "step"
                inside.mkdir()
                for name, text in inputs.items():
                    (inside / name).parent.mkdir(parents=True, exist_ok=True)
                    (inside / name).write_text(text, "utf-8")
                code = _run([str(tool.program), *arguments], inside)
                missing = [name for name in results if not (inside / name).exists()]
                if code or missing:
                    log = home.with_suffix(".failed.log")
                    os.replace(inside / "log.txt", log)
                    raise _failed(tool, code, missing, log)
                os.replace(inside, home)
    return home


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item], jobs: int,
                done: Callable[[Item], None]) -> list[Result]:  # fmt: skip
    """`function` of each item, so many at a time; the first error, or the user, ends all tools that still run."""
    if not items:
        return []
    _stopped.clear()
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        futures: dict[Future[Result], Item] = {pool.submit(function, item): item for item in items}
        try:
            pending = set(futures)
            while pending:
                ended, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    done(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _stop()
            raise
    return [future.result() for future in futures]


#: Tools that run now, for `_stop`.
_running: set[subprocess.Popen[bytes]] = set()
_guard = threading.Lock()
_stopped = threading.Event()


def _stop() -> None:
    with _guard:
        _stopped.set()
        for process in _running:
            process.kill()


@contextmanager
def _process(command: Sequence[str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (cwd / "log.txt").open("wb") as log, _guard:
        if _stopped.is_set():
            raise KeyboardInterrupt
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        _running.add(process)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        with _guard:
            _running.discard(process)


def _run(command: Sequence[str], cwd: Path) -> int:
    """The exit code; what the tool says goes to log.txt."""
    with _process(command, cwd) as process:
        return process.wait()


def _failed(tool: Tool, code: int, missing: Sequence[str], log: Path) -> HwgenError:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = "\n            ".join(lines[-LAST_LINES:]) or "it said nothing"
    ended = f"exit code {code}" if code else f"no {', '.join(missing)}"
    return HwgenError(tool.name, expected="that it ends well", found=f"{ended}; the last it said:\n            {said}",
                      mend=f"the whole log is {log}")  # fmt: skip
