"""JSON of others: content, or one message; never a traceback."""

import pytest

from hwgen.common.errors import HwgenError
from hwgen.common.json_file import read_json


def test_content(tmp_path):
    (tmp_path / "a.json").write_text('{"é": [1, null]}', "utf-8")
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}


@pytest.mark.parametrize("data, found", [
    (b"{", "Expecting property name"), (b"\xff\xfe", "can't decode byte 0xff"), (b"[" * 100_000, "too deep"),
    (b"9" * 5000, "4300 digits"), (None, "No such file"),
])  # fmt: skip
def test_broken(tmp_path, data, found):
    path = tmp_path / "a.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(HwgenError) as caught:
        read_json(path, "a list", "write it again")
    lines = caught.value.text().splitlines()
    assert lines[0] == str(path) and lines[1] == "  expected: a list" and lines[3] == "  mend:     write it again"
    assert found in lines[2]
