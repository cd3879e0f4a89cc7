"""File names that stand in other files."""

from pathlib import Path

import pytest

from hwgen.common.beside import beside
from hwgen.common.errors import HwgenError


def test_paths(tmp_path):
    assert beside(tmp_path / "a.yaml", "model", "x/y.npz") == tmp_path / "x" / "y.npz"
    assert beside(tmp_path / "a.yaml", "model", "/x") == Path("/x")
    assert beside(Path("a.yaml"), "model", "~/x") == Path.home() / "x"


@pytest.mark.parametrize("name, found", [
    ("a\0b", r"'a\x00b': embedded null byte"), ("x" * 300, "File name too long"), ("\ud800", "surrogates"),
    ("~nobody-of-this-name/x", "Could not determine home directory"),
])  # fmt: skip
def test_no_names_of_files(name, found):
    with pytest.raises(HwgenError) as caught:
        beside(Path("a.yaml"), "model", name)
    text = caught.value.text()
    assert text.startswith("a.yaml: model\n  expected: the name of a file\n") and found in text
