"""How much memory the import of a file takes: at most twice its size, and a little more of two bytes per number, whose
float32 alone is twice the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.importers.memory import KINDS, LARGE, SMALL, peak

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own


@pytest.mark.parametrize("kind", KINDS)
def test_of_sixty_megabytes(tmp_path: Path, kind: str) -> None:
    wide = KINDS[kind].itemsize == 4
    found, size = peak(tmp_path, kind, 512, 5 if wide else 10)
    assert 60e6 < size < 70e6
    assert found < (2 if wide else 2.2) * size + SMALL


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_gigabyte(tmp_path: Path, kind: str) -> None:
    wide = KINDS[kind].itemsize == 4
    found, size = peak(tmp_path, kind, 1024, 21 if wide else 42)
    assert 1e9 < size < 1.1e9
    assert found < (2 if wide else 2.2) * size + LARGE
