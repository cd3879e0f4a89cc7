"""What a quantize.yaml of our own checkpoints says wrongly: file, key and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from hwgen.cli import options
from hwgen.common.errors import HwgenError
from hwgen.importers import FORMATS
from hwgen.quantize import quantize
from hwgen.quantize.config import ImportConfig
from tests.quantize.helpers import MEAN, MOE, write_random_network


def broken(tmp_path: Path, change: dict[str, Any]) -> str:
    """The message for a quantize.yaml with these keys changed (None: left out)."""
    path = write_random_network(tmp_path, 1, layers=[MOE], tasks=[MEAN])
    config = yaml.safe_load(path.read_text()) | change
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    with pytest.raises(HwgenError) as caught:
        quantize(path)
    return caught.value.text().replace(str(tmp_path), "DIR")


def test_errors_name_file_key_and_mend(tmp_path: Path) -> None:
    assert broken(tmp_path, {"checkpoint": "lost.npz"}) == (
        "DIR/lost.npz\n  expected: a checkpoint\n  found:    no such file or folder\n  mend:     check the path"
    )
    text = broken(tmp_path, {"checkpoint": "quantize.yaml"})
    assert "DIR/quantize.yaml\n  expected: a .safetensors, .npz, .pt" in text
    assert "quantize.yaml: moe\n  expected: `moe`, as the checkpoint has l0.gate0" in broken(tmp_path, {"moe": None})
    assert "unknown key `head_dims`\n  mend:     did you mean `head_dim`?" in broken(tmp_path, {"head_dims": 3})
    assert "DIR/float.npz: l0.qkv.w\n  expected: float [" in broken(tmp_path, {"head_dim": 63})
    assert "number(s), one per image channel" in broken(tmp_path, {"normalize": {"mean": [], "std": []}})
    assert "layers.0.mlp.top_k\n  expected: at most experts = 5\n  found:    6" in broken(
        tmp_path, {"moe": {"top_k": 6, "gate": "softmax_topk"}}
    )
    assert "DIR/float.npz: images\n  expected: an array `images`" in broken(tmp_path, {"calibration": "float.npz"})


def test_every_format_can_be_named() -> None:
    """In a file as on the command line; hwgen's own has another schema."""
    named = set(get_args(ImportConfig.model_fields["format"].annotation))
    assert named == set(FORMATS) - {"hwgen"}
    shown = get_args(options.Format)[1].help
    assert all(name in shown for name in FORMATS)
