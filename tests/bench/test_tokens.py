"""`bench.tokens`: what an array that pads tokens to 64 needs, and the structure that is measured."""

import json

from bench.run import TOKENS
from bench.tokens import COUNTS, ITA_PADS, ita_cycles, model


def test_padding_decides():
    """As simulated at the multiples of 64."""
    assert [ita_cycles(tokens) for tokens in (64, 128, 192, 256)] == [10_865, 24_689, 41_585, 61_553]
    assert ita_cycles(129) == ita_cycles(192) and ita_cycles(65) == ita_cycles(128)


def test_models_have_the_tokens():
    assert [model(count).model.tokens for count in (57, 129)] == [57, 129]


def test_recorded_rows():
    """Exact, and ahead of the other at every count that is not a multiple of its padding."""
    rows = json.loads(TOKENS.read_text())
    assert [row["tokens"] for row in rows] == list(COUNTS)
    assert all(row["bit_exact"] for row in rows)
    for row in rows:
        assert row["cycles"] < row["ita_cycles"] or row["tokens"] % ITA_PADS == 0, row
