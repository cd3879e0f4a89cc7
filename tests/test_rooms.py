"""Rooms of the tests: those of the sources, file by file; and no source file or function too long to read at once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

#: Where the sources of `tests/` are: the rooms of hwgen are its rooms too, the others are rooms themselves.
PACKAGES = ("hwgen", "golden", "sim", "bench")
#: Rooms of the machine as a whole, of `templates/hls`, of any bytes in files and programs; at the top, of the tree.
WHOLE = ("system", "hls", "fuzz")
TREE = ("test_docs", "test_layers", "test_rooms")
TEST = re.compile(r"\btests/[\w/]+\.py")
COVERED = re.compile(r"Tested\s+by\s+tests/[\w/]+\.py")
LINES, FUNCTION_LINES = 350, 80
#: Why a function is longer: a comment in it or right above it.
LONG = re.compile(r"^\s*# long: \w", re.MULTILINE)


def sources(root: Path, packages: tuple[str, ...] = PACKAGES) -> Iterator[tuple[Path, Path]]:
    """Every source file and where its test is looked for: the room and the name."""
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            place = path.relative_to(root / "hwgen" if package == "hwgen" else root).with_suffix("")
            yield path, place.parent / place.parent.name if place.name == "__init__" else place


def rooms(root: Path) -> list[str]:
    """Tests in no source's room, sources without a test, and tests they name that are not there."""
    wrong = []
    known = {place for _, place in sources(root)}
    tests = root / "tests"
    for path in sorted([*tests.rglob("test_*.py"), *tests.rglob("bench_*.py")]):
        place = path.relative_to(tests).with_suffix("")
        name = place.parent / place.name.split("_", 1)[1]
        if place.parts[0] not in WHOLE and str(place) not in TREE:
            if name not in known and not (tests / name).with_suffix(".py").exists():
                wrong.append(f"{path.relative_to(root)}: there is no {name}.py")
    for path, place in sources(root):
        text = path.read_text()
        wrong += [f"{path.relative_to(root)}: no {test}" for test in TEST.findall(text) if not (root / test).exists()]
        tree = ast.parse(text)
        if path.name == "__main__.py" or not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in tree.body):
            continue
        own = any((tests / place.parent / f"{kind}_{place.name}.py").exists() for kind in ("test", "bench"))
        if not own and not COVERED.search(ast.get_docstring(tree) or ""):
            wrong.append(f"{path.relative_to(root)}: no test of its own or named")
    return wrong


def long(root: Path) -> list[str]:
    """Files of the packages that people read, and functions in them, beyond their limits."""
    wrong = []
    for path, _ in sources(root, PACKAGES[:3]):
        text = path.read_text()
        lines = text.splitlines()
        if len(lines) > LINES:
            wrong.append(f"{path.relative_to(root)}: {len(lines)} lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            above = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 2
            if length > FUNCTION_LINES and not LONG.search("\n".join(lines[max(above, 0) : node.end_lineno])):
                wrong.append(f"{path.relative_to(root)}: {node.name} has {length} lines")
    return wrong


def test_every_source_has_its_test_in_its_room() -> None:
    wrong = rooms(ROOT)
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_are_short() -> None:
    wrong = long(ROOT)
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository in order."""
    for file, text in {
        "hwgen/__init__.py": "",
        "hwgen/a/__init__.py": "def f():\n    pass\n",
        "hwgen/a/one.py": "def f():\n    pass\n",
        "hwgen/a/two.py": '"""Two. Tested by tests/a/test_one.py and\ntests/system/test_all.py."""\n\nclass C: ...\n',
        "hwgen/a/names.py": "NAME = 1\n",
        "sim/s.py": "def f():\n    pass\n",
        "tests/a/test_a.py": "",
        "tests/a/test_one.py": "",
        "tests/sim/bench_s.py": "",
        "tests/system/test_all.py": "",
        "tests/helper.py": "",
        "tests/test_helper.py": "",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert rooms(tmp_path) == long(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("tests/a/test_one.py", "tests/test_one.py",
         ["tests/test_one.py: there is no one.py", "hwgen/a/one.py: no test of its own or named",
          "hwgen/a/two.py: no tests/a/test_one.py"]),
        ("tests/system/test_all.py", "tests/system/test_both.py", ["hwgen/a/two.py: no tests/system/test_all.py"]),
        ("tests/a/test_a.py", "tests/a/a.py", ["hwgen/a/__init__.py: no test of its own or named"]),
        ("tests/sim/bench_s.py", "tests/sim/bench_t.py",
         ["tests/sim/bench_t.py: there is no sim/t.py", "sim/s.py: no test of its own or named"]),
        ("tests/helper.py", "tests/other.py", ["tests/test_helper.py: there is no helper.py"]),
    ],
)  # fmt: skip
def test_a_moved_file_is_found(tree: Path, old: str, new: str, wrong: list[str]) -> None:
    (tree / old).rename(tree / new)
    assert rooms(tree) == wrong


def test_long_ones_are_found(tree: Path) -> None:
    body = "    x = 1\n" * FUNCTION_LINES
    file = tree / "hwgen/a/one.py"
    file.write_text(f"def f():\n{body}")
    assert long(tree) == ["hwgen/a/one.py: f has 81 lines"]
    for text in (f"# long: a table\ndef f():\n{body}", f"@g\ndef f():\n    # long: a table\n{body}"):
        file.write_text(text)
        assert long(tree) == []
    file.write_text("x = 1\n" * (LINES + 1))
    assert long(tree) == ["hwgen/a/one.py: 351 lines"]
