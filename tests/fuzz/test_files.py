"""Any bytes in a file from elsewhere: it is read, or a HwgenError says what is wrong; in little memory and time.

`make test` tries a small share, the same each time. `make fuzz` goes on: python -m tests.fuzz, python -m
tests.fuzz.bytes. HWGEN_FUZZ is a factor of how many are tried here.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.guard import Fault, outcome
from tests.fuzz.targets import TARGETS, prepared, tried

pytestmark = pytest.mark.filterwarnings("ignore")
#: Of each kind of file.
EXAMPLES = int(25 * float(os.environ.get("HWGEN_FUZZ", "1")))


def examples(share: float) -> settings:
    """The same in each run."""
    return settings(max_examples=max(1, int(share * EXAMPLES)), derandomize=True, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_a_spoilt_file(name: str, tmp_path: Path) -> None:
    path, data = prepared(name, tmp_path)
    target = TARGETS[name]

    @examples(target.share)
    @given(st.integers(0, (1 << 64) - 1))
    def spoilt(seed: int) -> None:
        tried(name, path, target.spoil(Random(seed), data))

    @examples(0.2 * target.share)
    @given(st.binary(max_size=400))
    def anything(content: bytes) -> None:
        tried(name, path, content)

    spoilt()
    anything()


def refuse(error: type[BaseException]) -> object:
    def read(path: Path) -> object:
        raise error(str(path))

    return read


def swallow(path: Path) -> None:
    """As a reader that takes a lack of memory for a broken file."""
    try:
        bytearray(1 << 32)
    except MemoryError:
        raise ValueError("broken") from None


def endless(path: Path) -> None:
    while True:
        pass


@pytest.mark.parametrize("read, found", [
    (refuse(KeyError), "KeyError"), (refuse(RecursionError), "RecursionError"), (refuse(SystemExit), "SystemExit"),
    (swallow, "more than 512 MB"), (endless, "more than 0.2 s"), (lambda path: bytearray(1 << 32), "more than 512 MB"),
])  # fmt: skip
def test_faults_are_found(read, found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.guard.SECONDS", 0.2)
    with pytest.raises(Fault, match=found):
        outcome(read, tmp_path, ValueError)
