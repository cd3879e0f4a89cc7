"""A description's loader and saver: round trips, and every error of the files by its text."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.network.description import Description, load, save
from tests.network.description.helpers import load_error, small


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    description = small()
    assert save(description, tmp_path) == tmp_path / "model.yaml"
    for path in (tmp_path, tmp_path / "model.yaml", str(tmp_path)):
        loaded = load(path)
        assert loaded.model == description.model
        assert loaded.path == tmp_path / "model.yaml"
        assert list(loaded.tensors) == sorted(description.tensors)
        for name, tensor in description.tensors.items():
            assert loaded.tensors[name].dtype == tensor.dtype
            assert np.array_equal(loaded.tensors[name], tensor)


def test_same_description_same_bytes(tmp_path: Path) -> None:
    description = small()
    save(description, tmp_path / "a")
    turned = dict(reversed(description.tensors.items()))
    turned["embed.weight"] = np.asfortranarray(turned["embed.weight"])
    scales = dict(reversed(description.model.scales.items()))
    save(Description(description.model.model_copy(update={"scales": scales}), turned), tmp_path / "b")
    save(load(tmp_path / "a"), tmp_path / "c")
    for name in ("model.yaml", "weights.safetensors"):
        assert len({(tmp_path / copy / name).read_bytes() for copy in "abc"}) == 1, name


def test_yaml_reads_as_in_the_documentation(tmp_path: Path) -> None:
    text = save(small(), tmp_path).read_text()
    assert text.startswith("format: hwgen-model\nversion: 2\nname: random\nweights: weights.safetensors\n")
    assert "\nimage: {height: 6, width: 12, channels: 2}\npatch: {height: 3, width: 4}\ndim: 9\n" in text
    assert "- mlp: {kind: moe, experts: 3, hidden: 6, top_k: 2, gate: softmax_topk, activation: gelu}\n" in text
    assert f"\nresidual_fraction_bits: {small().model.residual_fraction_bits}\n" in text
    assert "- {name: raw, head: none, norm: false}\n" in text


def test_missing_yaml(tmp_path: Path) -> None:
    assert load_error(tmp_path / "m.yaml") == (
        "DIR/m.yaml\n  expected: a readable YAML file\n  found:    No such file or directory\n"
        "  mend:     check the path"
    )


def test_missing_weights(tmp_path: Path) -> None:
    save(small(), tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    assert load_error(tmp_path).startswith(
        "DIR/weights.safetensors\n  expected: the weights file named by `weights` in model.yaml\n  found:    No such "
    )


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("a: [1, 2\nb: 3\n", "line 2, column 2", "expected ',' or ']', but got ':'"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1", "the key `a` occurs twice"),
        ("a:\tb: c\n", "line 1, column 3", "found character '\\t' that cannot start any token"),
    ],
)
def test_yaml_syntax(tmp_path: Path, text: str, place: str, found: str) -> None:
    (tmp_path / "model.yaml").write_text(text)
    assert load_error(tmp_path) == (
        f"DIR/model.yaml: {place}\n  expected: valid YAML\n  found:    {found}\n  mend:     correct the syntax there"
    )


def test_yaml_of_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\x00")
    assert load_error(tmp_path) == "DIR/model.yaml\n  expected: UTF-8 text\n  found:    other bytes"


def test_broken_weights(tmp_path: Path) -> None:
    save(small(), tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    expected = "DIR/weights.safetensors\n  expected: a safetensors file of integer tensors\n"
    assert load_error(tmp_path).startswith(expected)
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    weights.write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    assert load_error(tmp_path).startswith("DIR/weights.safetensors")


def test_save_refuses_what_load_would(tmp_path: Path) -> None:
    description = small()
    description.tensors.pop("position")
    with pytest.raises(HwgenError, match="position"):
        save(description, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_save_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HwgenError, match="expected: a directory that can be written\n  found:    File exists"):
        save(small(), tmp_path / "file")
