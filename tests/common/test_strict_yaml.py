"""YAML that stands for more than it seems, or for nothing that PyYAML can make."""

import time

import pytest

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import read_yaml


def refused(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    start = time.monotonic()
    with pytest.raises(HwgenError) as caught:
        read_yaml(path)
    assert time.monotonic() - start < 2
    return caught.value.text().replace(str(path), "FILE")


LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 30)
)


@pytest.mark.parametrize("text, found", [
    (LAUGHS, "aliases that stand for more than 100000 values"), (MERGED, "aliases that stand for more than 100000"),
    ("a: &a [*a]", "an alias inside what it names"), ("[" * 3000, "in one another, more than 50 deep"),
    ("{a: " * 3000, "more than 50 deep"), ("- " * 3000, "more than 50 deep"), ("a: 0x" + "f" * 9000, "36000 bits"),
    ("a: " + "9" * 5000, "no int can be made of"), ("a: 2001-99-99", "no timestamp can be made of '2001-99-99'"),
    ("a: !!int x", "no int can be made of 'x'"), ("a: !!bool x", "no bool can be made of 'x'"),
    ("a: !!timestamp x", "no timestamp can be made of"), ("? [a]\n: 1", "a key that is no text"),
    ("a: !!map [b]", "expected a mapping node"),
])  # fmt: skip
def test_refused(tmp_path, text, found):
    assert found in refused(tmp_path, text)


def test_aliases_as_people_use_them(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}
    (tmp_path / "a.yaml").write_text("[" + "1, " * 200_000 + "]")
    assert len(read_yaml(tmp_path / "a.yaml")) == 200_000
