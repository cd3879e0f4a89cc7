"""The page as text: all of it in one file, nothing from elsewhere, names are not markup."""

import json
import re
from html.parser import HTMLParser

import pytest

from hwgen.common.errors import HwgenError
from hwgen.report.page import page, write_page
from hwgen.report.result import Cost, Run
from tests.report.helpers import cost_of, result_of

#: Elements without an end.
VOID = {"meta", "link", "br"}


class Reader(HTMLParser):
    """Elements with attributes; what is open; texts by the innermost element."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "elements end in the order they were opened"

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture
def run(build):
    return Run.model_validate(result_of(build))


def plots(text: str) -> list[dict]:
    """The documents of the page's plots."""
    return [json.loads(one) for one in re.findall(r'class="plots"[^>]*>(.*?)</script>', text, re.DOTALL)]


def test_whole(build, run):
    """Each task has its cards and all its plots; every plot has a place and data; nothing is missing."""
    text = page(build, run, Cost.model_validate(cost_of(build)), mhz=300)
    reader = read(text)
    headings = [one.strip() for one in reader.texts["h2"]]
    assert headings == 2 * [
        "Timeline", "Cycles per layer", "Roofline", "Memory traffic", "Bytes per layer", "Experts",
        "Quantization over the depth", "Buffers",
    ]  # fmt: skip
    places = [attrs["id"] for tag, attrs in reader.found if (attrs.get("class") or "") == "plot"]
    documents = plots(text)
    roots = [place for one in documents for place in one["items"][0]["roots"].values()]
    assert places == roots and len(places) == len(set(places)) == 18
    assert not [attrs for _, attrs in reader.found if attrs.get("class") == "missing"]
    assert len(text.encode()) < 5_000_000


def test_nothing_comes_from_elsewhere(build, run):
    """No address that a browser would fetch: the icon is in the page, too."""
    for tag, attrs in read(page(build, run)).found:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, attrs)
    style = re.findall(r"<style>(.*?)</style>", page(build, run), re.DOTALL)
    assert style and not any("url(" in one or "@import" in one for one in style)


def test_what_is_missing_is_said(build):
    """Without a run and the quantizer's report: no empty plot, but how to get it."""
    text = page(build)
    assert "not simulated" in text
    said = re.findall(r'<div class="missing">(.*?)\n', text)
    assert said == 2 * ["Only a simulation knows:", "Only a simulation knows:", "The quantizer&#39;s report has it:"]
    assert len(plots(text)[0]["items"][0]["roots"]) == 6


def test_a_run_without_timelines(build):
    text = page(build, Run.model_validate(result_of(build, timelines=False)))
    assert "By the cycle model: when each instruction" in text and "simulated, 3 images" in text
    assert text.count("Only a simulation knows") == 2  # of each task the memory's traffic


def test_names_are_no_markup(build, run):
    """Neither in the text nor in the data of the plots, where they would end the script."""
    name = "</script><b>x"
    model = build.model.model.model_copy(update={"name": name})
    object.__setattr__(build.model, "model", model)
    run.tasks["digit"].timeline.instructions.name[-3] = name
    text = page(build, run)
    assert not any(tag == "b" for tag, _ in read(text).found)
    assert "&lt;/script&gt;&lt;b&gt;x" in text and "<b>x" not in text


def test_all_or_nothing(tmp_path):
    with pytest.raises(HwgenError, match=r"none/page.html\n  expected: a file that can be written"):
        write_page(tmp_path / "none" / "page.html", "text")
    (tmp_path / "page.html").mkdir()
    with pytest.raises(HwgenError, match=r"page.html\n  expected: a file that can be written"):
        write_page(tmp_path / "page.html", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    write_page(tmp_path / "good.html", "text")
    assert (tmp_path / "good.html").read_text() == "text"
