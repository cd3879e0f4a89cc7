"""What a quantize.yaml asks for, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwgen.common.errors import HwgenError
from hwgen.quantize import read_job
from tests.quantize.helpers import m3vit_job, write_m3vit


@pytest.fixture
def m3vit(tmp_path: Path) -> Path:
    return write_m3vit(tmp_path)


def test_number_of_images(m3vit: Path) -> None:
    assert read_job(m3vit_job(m3vit, images=2)).images == 2


def test_wrong_configs(m3vit: Path) -> None:
    for changes, text in (
        ({"format": "tim"}, "quantize.yaml: format\n  expected: 'auto', 'timm', "),
        ({"head": 3}, "quantize.yaml: head\n  expected: no such key here\n  found:    unknown key `head`"),
        ({"checkpoint": None}, "quantize.yaml: checkpoint\n  expected: a value\n  found:    no such key"),
        ({"options": {"ranges": "x"}}, "quantize.yaml: options.ranges\n  expected: 'auto', 'minmax', "),
        ({"heads": None}, "m3vit.npz\n  expected: the number of attention heads of 128 channels"),
    ):
        with pytest.raises(HwgenError) as caught:
            read_job(m3vit_job(m3vit, **changes))
        assert text in caught.value.text()
