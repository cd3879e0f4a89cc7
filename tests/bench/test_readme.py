"""README and results page say what was measured."""

from pathlib import Path

import pytest

from bench.readme import README, RESULTS_PAGE, filled


@pytest.mark.parametrize("page", [README, RESULTS_PAGE], ids=lambda page: page.name)
def test_results_are_those_of_the_bench(page: Path) -> None:
    assert filled(page) == page.read_text("utf-8"), "run python -m bench.readme"
