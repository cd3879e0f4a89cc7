"""What the report reads: figures of another build, and files that are none, are refused with what to do."""

import json

import pytest

from hwgen.common.errors import HwgenError
from hwgen.report.result import read_cost, read_run
from tests.report.helpers import cost_of, result_of


@pytest.fixture
def file(tmp_path):
    def write(document: object):
        path = tmp_path / "file.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


def test_read(build, file):
    run = read_run(file(result_of(build)), build)
    assert run.tasks["digit"].timeline.task == "digit" and run.latency == 40
    assert read_run(file(result_of(build, timelines=False)), build).tasks["segment"].timeline is None
    cost = read_cost(file(cost_of(build)), build)
    assert cost.tasks["digit"].float_ == {"top1": 0.9912} and cost.tensors["embed"].sqnr_db == 50


def change(document, *path_and_value):
    """A copy with another value at a path of keys; None: without it."""
    *path, last, value = path_and_value
    made = json.loads(json.dumps(document))
    place = made
    for key in path:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize(
    "edit, texts",
    [
        (("engine", "hls"), ("engine", "expected: a run of the Verilog", "mend:     hwgen sim ")),
        (("model", "other"), ("model", "expected: random", "found:    other")),
        (("parameters", "t", 64), ("parameters", "expected: those of the build", "found:    others: t")),
        (("tasks", {}), ("tasks",)),
        (("tasks", "depth", "digit"), ("tasks",)),
        (("tasks", "digit", "counters", None), ("tasks.digit.counters",)),
        (("tasks", "digit", "cycles_per_image", "mean", 0.0), ("tasks.digit.cycles_per_image.mean", "greater than 0")),
        (("tasks", "digit", "timeline", "cycles", "many"), ("tasks.digit.timeline.cycles", "expected: an integer")),
        (("tasks", "digit", "timeline", "instructions", "name", []), ("timeline: instructions", "columns of one leng")),
        (("tasks", "digit", "timeline", "instructions", "name", 0, "else"),
         ("timeline: instructions", "expected: the program of the build", "found:    another one")),
    ],
)  # fmt: skip
def test_runs_that_are_refused(build, file, edit, texts):
    with pytest.raises(HwgenError) as error:
        read_run(file(change(result_of(build), *edit)), build)
    for text in ("file.json", *texts):
        assert text in error.value.text(), error.value.text()


def test_an_unknown_task(build, file):
    document = result_of(build)
    document["tasks"]["depth"] = document["tasks"].pop("digit")
    with pytest.raises(HwgenError, match=r"tasks\n  expected: digit or segment\n  found:    depth"):
        read_run(file(document), build)


def test_files_that_are_none(build, file, tmp_path):
    with pytest.raises(HwgenError, match=r"expected: JSON, written by `hwgen sim BUILD --timeline`"):
        read_run(file("{"), build)
    with pytest.raises(HwgenError, match=r"expected: JSON, written by .*\n  found:    No such file"):
        read_cost(tmp_path / "none.json", build)
    with pytest.raises(HwgenError, match=r"expected: a mapping of keys to values"):
        read_run(file([]), build)
    with pytest.raises(HwgenError, match=r"model\n  expected: random\n  found:    vit"):
        read_cost(file(change(cost_of(build), "model", "vit")), build)
    with pytest.raises(HwgenError, match=r"tensors"):
        read_cost(file(change(cost_of(build), "tensors", {})), build)
