"""`hwgen explore`: what it writes, what it refuses; the best design simulated."""

import csv
import json

import pytest

from hwgen.config import load_project
from hwgen.network import description
from hwgen.rtl.emit import accelerator_verilog
from tests.random_model import small_description


@pytest.fixture
def small(project):
    """The project with a small network and a space of a few designs."""
    description.save(small_description(), project / "small")
    (project / "config.yaml").write_text("model: small\narray: {t: 2, c: 4, k: 4}\nbuses: {weights: 64, data: 64}\n")
    (project / "space.yaml").write_text("array: {t: [2, 3], c: [4], k: [2, 4]}\n")
    return project


def test_files_and_going_on(hwgen, small):
    args = ("explore", small / "config.yaml", "--space", small / "space.yaml", "-o", small / "out", "--workers", 1)
    code, out, err = hwgen(*args)
    assert code == 0, err
    assert "4 designs: 2 to choose from, 0 do not fit, 2 cannot be; 2 on the front" in out
    assert "The best by latency" in out and "2×4×4" in out
    rows = list(csv.DictReader((small / "out" / "designs.csv").open()))
    assert [(row["t"], row["k"], bool(row["refused"])) for row in rows] == [
        ("2", "2", False), ("2", "4", False), ("3", "2", True), ("3", "4", True),
    ]  # fmt: skip
    assert len(json.loads((small / "out" / "designs.json").read_text())) == 4
    best = load_project(small / "out" / "config.yaml")
    assert (best.params.t, best.params.k) == (2, 4) and best.models[0].model.name == "random"
    assert "4 designs" in (small / "out" / "explore.html").read_text()
    code, out, _ = hwgen(*args, "--objective", "fps-per-dsp")
    assert code == 0 and "note: 4 of 4 designs are known from before" in out and "The best by fps-per-dsp" in out


def test_refusals(hwgen, refused, small):
    def says(*texts, args):
        refused(*texts, args=("explore", small / "config.yaml", "-o", small / "out", *args))

    says("command line: --space", "expected: a space.yaml, or a board to fit", args=())
    says("command line: --fit", "found:    kv260 and --board zcu102", args=("--fit", "kv260", "--board", "zcu102"))
    says("none.yaml", args=("--space", small / "none.yaml"))
    says("command line: --board", "expected: a board: zcu102", args=("--fit", "moon"))


def test_nothing_to_choose_from(hwgen, small):
    (small / "space.yaml").write_text("array: [[3, 4, 4]]\n")
    code, _, err = hwgen("explore", small / "config.yaml", "--space", small / "space.yaml", "-o", small / "out",
                         "--workers", 1)  # fmt: skip
    assert code == 2 and "expected: a design to choose from" in err and "array.t: a power of two" in err


def test_fit_and_verify(hwgen, small, monkeypatch):
    """A board without a space; then the best of a space built and simulated, to the bit, beside the estimate."""
    monkeypatch.setattr("hwgen.explore.space.board_space", lambda board: module.read_space(small / "space.yaml"))
    from hwgen.explore import space as module

    code, out, err = hwgen("explore", small / "config.yaml", "--fit", "pynq-z2", "-o", small / "fit", "--workers", 1)
    assert code == 0, err
    made = load_project(small / "fit" / "config.yaml")
    assert made.device.name == "xc7z020" and made.params.multiplier_bits == 18 and made.params.max_burst == 16
    monkeypatch.setattr("hwgen.rtl.emit.accelerator_verilog", accelerator_verilog)
    code, out, err = hwgen("explore", small / "config.yaml", "--space", small / "space.yaml", "-o", small / "out",
                           "--workers", 1, "--verify", 1, "--latency", 40)  # fmt: skip
    assert code == 0, err
    assert "2 × 4 × 4, random" in out and "identical" in out
    assert (small / "out" / "pick-1" / "out" / "rtl" / "hwgen_accelerator.v").stat().st_size > 100_000
