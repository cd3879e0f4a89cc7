"""`bench.tokens`: what an array that pads tokens to 64 is said to need, and the structure that is measured."""

import json

from bench.run import TOKENS
from bench.tokens import COUNTS, ITA_CYCLES, ITA_TOKENS, ita_cycles, model
from hwgen.macs import attention_macs


def test_padding_decides():
    assert ita_cycles(ITA_TOKENS) == ita_cycles(192) == ITA_CYCLES
    assert ita_cycles(128) < ita_cycles(129) and ita_cycles(65) == ita_cycles(128)
    # 99.5 % of 1024 MACs per cycle when nothing is padded.
    assert 0.99 < attention_macs(model(192)) / (1024 * ita_cycles(192)) < 1


def test_models_have_the_tokens():
    assert [model(count).model.tokens for count in (57, 129)] == [57, 129]


def test_recorded_rows():
    """Exact, and ahead wherever padding to 64 costs the other more than a tile of ours."""
    rows = json.loads(TOKENS.read_text())
    assert [row["tokens"] for row in rows] == list(COUNTS)
    assert all(row["bit_exact"] for row in rows)
    for row in rows:
        if 0 < row["tokens"] % 64 <= 56:
            assert row["cycles"] < row["ita_cycles"], row
