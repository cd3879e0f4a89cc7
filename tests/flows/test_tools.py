"""Steps: run once, kept by content; nothing is left of one that fails; all end when one fails or the user says so."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from hwgen.common.errors import HwgenError
from hwgen.common.tools import Tool
from hwgen.flows import tools
from hwgen.flows.tools import in_parallel, step


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "synth"


def tool(folder: Path, text: str, version: str = "1") -> Tool:
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Tool("tool", path, version)


def directories(kept: Path) -> list[Path]:
    return sorted(path for path in kept.iterdir() if path.is_dir())


def test_a_step_is_run_once(tmp_path: Path, kept: Path) -> None:
    count = tmp_path / "count"
    doubler = tool(tmp_path, f'echo run >> {count}; echo said "$1"; cat in.txt in.txt > out.txt')
    home = step(doubler, ["-x"], {"in.txt": "a"}, ["out.txt"])
    assert (home / "out.txt").read_text() == "aa" and (home / "log.txt").read_text() == "said -x\n"
    assert step(doubler, ["-x"], {"in.txt": "a"}, ["out.txt"]) == home
    assert count.read_text() == "run\n"
    others = [step(doubler, ["-y"], {"in.txt": "a"}, []), step(doubler, ["-x"], {"in.txt": "b"}, []),
              step(tool(tmp_path, doubler.program.read_text(), "2"), ["-x"], {"in.txt": "a"}, [])]  # fmt: skip
    assert len({home, *others}) == 4 == len(directories(kept))


def test_files_of_a_step_may_be_in_folders(tmp_path: Path, kept: Path) -> None:
    joiner = tool(tmp_path, "cat a/x.txt a/b/x.txt > out.txt")
    home = step(joiner, [], {"a/b/x.txt": "2", "a/x.txt": "1"}, ["out.txt"])
    assert (home / "out.txt").read_text() == "12"


def test_a_tool_that_fails_half_way(tmp_path: Path, kept: Path) -> None:
    failing = tool(tmp_path, "echo half > out.txt; seq 1 40; echo ERROR: out of memory >&2; exit 3")
    with pytest.raises(HwgenError) as error:
        step(failing, [], {"in.txt": "a"}, ["out.txt"])
    lines = error.value.text().splitlines()
    assert lines[0] == "tool" and "exit code 3" in lines[2]
    assert lines[3].strip() == "30" and lines[-2].strip() == "ERROR: out of memory"
    log = Path(lines[-1].removeprefix("  mend:     the whole log is "))
    assert log.read_text().startswith("1\n2\n")
    assert directories(kept) == []
    with pytest.raises(HwgenError, match=r"no out\.txt; the last it said:\n +nothing to do"):
        step(tool(tmp_path, "echo nothing to do"), [], {}, ["out.txt"])


def test_an_error_ends_the_tools_beside_it(tmp_path: Path, kept: Path) -> None:
    slow = tool(tmp_path, 'if [ "$1" = slow ]; then exec sleep 60; else sleep 0.3; exit 1; fi')
    start = time.monotonic()
    with pytest.raises(HwgenError, match="exit code 1"):
        in_parallel(lambda which: step(slow, [which], {}, []), ["slow", "quick", "later"], 2, lambda item: None)
    assert time.monotonic() - start < 20
    assert directories(kept) == [] and not tools._running


def test_the_user_ends_all(tmp_path: Path, kept: Path) -> None:
    slow = tool(tmp_path, "exec sleep 60")
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), 2))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_parallel(lambda which: step(slow, [which], {}, []), ["a", "b", "c"], 2, lambda item: None)
    assert time.monotonic() - start < 20
    assert directories(kept) == [] and not tools._running


def test_results_come_in_order() -> None:
    done: list[int] = []
    assert in_parallel(lambda n: n * n, [3, 1, 2], 2, done.append) == [9, 1, 4]
    assert sorted(done) == [1, 2, 3]
