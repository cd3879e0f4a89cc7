"""The pages keep what they promise: paths and names exist, rooms are complete, a newcomer finds what they look for."""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from pathlib import Path

import grimp
import pytest

from tests.paths import DOCS, EXAMPLES, ROOT

README = ROOT / "README.md"
ROOMS = DOCS / "rooms"
PAGES = [README, *sorted(DOCS.rglob("*.md")), *sorted(EXAMPLES.glob("*/README.md"))]
PACKAGES = ("hwgen", "golden", "sim", "bench")
FOLDERS = (*PACKAGES, "tests", "templates", "docs", "examples")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(page: Path) -> str:
    """The page's text, commands included, each line in one piece."""
    return re.sub(r"\s+", " ", page.read_text("utf-8"))


def spans(page: Path) -> list[str]:
    """What stands in single back-quotes."""
    return re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S))


def room_of(page: Path) -> Path:
    """The folder a room page is about: its file names are short."""
    return ROOT / spans(page)[0] if page.parent == ROOMS and page.stem not in ("index", "build", "tests") else ROOT


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_exist(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.<-])(?:{'|'.join(FOLDERS)})/[\w./*<>-]*[\w/*>]", words(page))
    named = [name for name in named if "<" not in name]
    missing = [name for name in named if not list(ROOT.glob(name))]
    bases = (ROOT, room_of(page), page.parent)
    sources = [name for name in spans(page) if re.fullmatch(r"[\w./]+\.py", name)]
    missing += [name for name in sources if not any((base / name).is_file() for base in bases)]
    emitted = {"rtl/hwgen_accelerator.v", "include/hwgen_regs.h"}
    assert sorted(set(missing) - emitted) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_modules_and_their_names_exist(page: Path) -> None:
    names = re.findall(rf"(?<![\w/.-])(?:{'|'.join((*PACKAGES, 'tests'))})(?:\.[A-Za-z_]\w*)+", words(page))
    for name in {name for name in names if not name.endswith((".py", ".md"))}:
        pkgutil.resolve_name(name)


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=page_id)
def test_lines_are_short(page: Path) -> None:
    """Rows of tables may be long."""
    lines = enumerate(page.read_text("utf-8").splitlines(), 1)
    assert {n: len(line) for n, line in lines if len(line) > 120 and not line.startswith("|")} == {}


def test_each_link_of_the_readme_stands_once() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", README.read_text("utf-8"))
    assert links and len(links) == len(set(links))
    assert all((ROOT / link.split("#")[0]).exists() for link in links if "://" not in link)


def places() -> dict[str, tuple[str, str, str]]:
    """The front page's table: what → file, name in it, page."""
    text = (DOCS / "index.md").read_text("utf-8").split("## Where is …?")[1]
    rows = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| `([^`]+)` \| \[[^]]+\]\(([^)]+)\) \|$", text, re.M)
    assert len(rows) == text.count("\n|") - 2
    return {what: (file, name, page) for what, file, name, page in rows}


@pytest.mark.parametrize("what", places())
def test_what_the_front_page_finds_is_there(what: str) -> None:
    file, name, page = places()[what]
    assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b[^=]* = ", (ROOT / file).read_text("utf-8"), re.M)
    assert (DOCS / page.split("#")[0]).is_file()


@pytest.mark.parametrize(
    "question, file, proof",
    [
        ("the rounding rule", "golden/fixed.py", "ties towards +infinity"),
        ("the opcode table", "hwgen/machine/isa.py", "OPCODES: dict[Op"),
        ("the place where K's bias is dropped", "hwgen/quantize/convert.py", 'weights["k"], None, grid'),
        ("the FIFO used everywhere", "hwgen/rtl/common/gearbox.py", "class ShiftQueue"),
        ("the message for a buffer that is too small", "hwgen/compiler/sizing.py", "too small by"),
    ],
)
def test_a_newcomer_finds(question: str, file: str, proof: str) -> None:
    assert places()[question][0] == file
    assert proof in (ROOT / file).read_text("utf-8")


@cache
def imports() -> dict[str, set[str]]:
    """Which room imports from which."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)

    def room(module: str) -> str:
        return module.split(".")[module.startswith("hwgen.")]

    asks: dict[str, set[str]] = {}
    for module in graph.modules:
        asks.setdefault(room(module), set()).update(map(room, graph.find_modules_directly_imported_by(module)))
    return {name: found - {name, "hwgen"} for name, found in asks.items() if name != "hwgen"}


def asked(page: Path, line: str) -> set[str]:
    """The rooms named in a line of a room page, up to its first full stop or bracket."""
    text = re.sub(r"\([^)]*\)", "", words(page))
    return set(re.findall(r"`(\w+)`", re.search(rf"\* {line}: ([^.*]*)", text)[1]))


#: Files without a folder that share a page.
BUILD = {"build", "config", "manifest"}


def test_every_room_has_a_page() -> None:
    pages = {room: "build" if room in BUILD else room for room in imports()}
    index = (ROOMS / "index.md").read_text("utf-8")
    for page in set(pages.values()):
        assert (ROOMS / f"{page}.md").is_file() and f"({page}.md)" in index, page


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent == ROOMS and "Asks:" in words(page)], ids=page_id
)
def test_room_pages_say_who_asks_whom_and_name_every_file(page: Path) -> None:
    rooms = BUILD if page.stem == "build" else {page.stem}
    assert asked(page, "Asks") == set().union(*(imports()[room] for room in rooms)) - rooms
    assert asked(page, "Asked by") == {room for room, asks in imports().items() if asks & rooms} - rooms
    if page.stem != "build":
        room, named = room_of(page), set(spans(page))
        files = {str(file.relative_to(room)) for file in room.rglob("*.py")}
        assert {file for file in files if not file.split("/")[-1].startswith("__")} - named == set()
