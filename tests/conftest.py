"""One BLAS thread per test process, as on a busy machine they wait for each other, tenfold slower; long tests first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

#: Where tests take long, the longest first: Yosys, whole machines, benches. So no worker ends up with one alone.
LONG = ("flows/test_nextpnr_ecp5", "flows/test_yosys", "system/", "sim/test_probes", "test_notebook", "rtl/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which workers are given the tests."""
    home = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(home).as_posix() if item.path.is_relative_to(home) else ""
        return next((number for number, start in enumerate(LONG) if place.startswith(start)), len(LONG))

    items.sort(key=rank)
