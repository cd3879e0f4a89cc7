"""The README says what was measured."""

from bench.readme import README, filled


def test_results_are_those_of_the_bench():
    text = README.read_text()
    assert filled(text) == text, "run python -m bench.readme"
