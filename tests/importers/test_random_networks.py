"""Networks drawn at random from timm's and transformers' constructors: each is imported right, without a question, or
refused by a sentence that names what shows it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.importers.random_networks import check, draw_timm, draw_transformers

FEW, MANY = 20, 200


def run(seeds: range, folder: Path) -> None:
    imported = 0
    for seed in seeds:
        dice = random.Random(seed)
        place = folder / str(seed)
        place.mkdir()
        imported += check((draw_timm, draw_transformers)[seed % 2](dice, place))
    assert 0.3 * len(seeds) < imported < 0.9 * len(seeds)


def test_a_few(tmp_path: Path) -> None:
    run(range(FEW), tmp_path)


@pytest.mark.slow
def test_many(tmp_path: Path) -> None:
    run(range(FEW, FEW + MANY), tmp_path)
