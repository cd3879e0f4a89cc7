"""`hwgen report`: what it writes where, what it refuses."""

import importlib
import json
import sys

import pytest

from hwgen.build import load_build
from tests.report.helpers import cost_of, result_of


@pytest.fixture
def built(hwgen, project):
    """A build in the project, opened."""
    hwgen("build", project / "config.yaml", "-o", project / "out")
    return load_build(project / "out")


def write(path, document) -> None:
    path.write_text(json.dumps(document))


def test_without_a_run(hwgen, built, project):
    code, out, err = hwgen("report", project / "out")
    assert code == 0, err
    page = (project / "out" / "report.html").read_text()
    assert "not simulated" in page
    assert f"{project}/out/report.html: " in out and "MB\n" in out
    assert "note: the timeline of all tasks is the cycle model's; simulated: hwgen sim " in out


def test_the_run_beside_the_build_is_found(hwgen, built, project):
    write(project / "out" / "result.json", result_of(built))
    code, out, err = hwgen("report", project / "out", "-o", project / "page.html", "--clock", 250)
    assert code == 0 and "note:" not in out, err
    page = (project / "page.html").read_text()
    assert "per image at 250 MHz" in page and "The first run of 1 image: when" in page
    assert not (project / "out" / "report.html").exists()


def test_board_and_quantization(hwgen, built, project):
    write(project / "cost.json", cost_of(built))
    code, _, err = hwgen("report", project / "out", "--board", "zcu102", "--quantization", project / "cost.json")
    assert code == 0, err
    page = (project / "out" / "report.html").read_text()
    assert "of xczu9eg" in page and "in floats 99.12%" in page and "The quantizer&#39;s report has it" not in page


def test_refusals(hwgen, built, project, refused):
    refused("expected: a directory written by `hwgen build`", args=("report", project))
    refused("none.json", "expected: JSON, written by `hwgen sim BUILD --timeline`", "No such file",
            args=("report", project / "out", "--run", project / "none.json"))  # fmt: skip
    refused("command line: --output", "expected: a file in a directory that exists",
            args=("report", project / "out", "-o", project / "nowhere" / "page.html"))  # fmt: skip
    refused("command line: --output", args=("report", project / "out", "-o", project))
    refused("expected: ", "found:    'moon'", args=("report", project / "out", "--board", "moon"))
    write(project / "other.json", result_of(built) | {"model": "other"})
    refused("other.json: model", "found:    other", "mend:     hwgen sim ",
            args=("report", project / "out", "--run", project / "other.json"))  # fmt: skip
    write(project / "cost.json", {"model": "x"})
    refused("cost.json", args=("report", project / "out", "--quantization", project / "cost.json"))


def test_bokeh_is_missing(hwgen, built, project, refused, monkeypatch):
    """The extra is named; nothing is written."""
    for name in [name for name in sys.modules if name.split(".")[0] == "bokeh" or name.startswith("hwgen.report.p")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    monkeypatch.setattr(importlib.import_module("hwgen.report"), "page", None, raising=False)
    monkeypatch.delattr("hwgen.report.page")
    refused("bokeh", "expected: the Python package that draws the plots", "mend:     pip install 'hwgen[report]'",
            args=("report", project / "out"))  # fmt: skip
