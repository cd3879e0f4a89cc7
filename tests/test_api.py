"""The names of `hwgen`: there, lazy, the same as the command line's; modules of the same name stay modules."""

import re
import subprocess
import sys

import numpy as np
import pytest

import hwgen
from golden.model import Golden
from hwgen.network import description
from tests.hollow import hollow_verilog
from tests.paths import DOCS, ROOT
from tests.random_model import random_images, small_description

NAMES = ("HwgenError", "build", "estimate", "explore", "load", "predict", "project", "quantize", "resources",
         "simulate")  # fmt: skip


@pytest.fixture
def model(tmp_path):
    description.save(small_description(), tmp_path / "model")
    return tmp_path / "model"


def test_import_is_lazy():
    """Nothing but hwgen itself, until a name is used; a room imported first can still be called."""
    code = ("import sys, hwgen; assert not {'numpy', 'amaranth', 'pydantic'} & set(sys.modules), 'not lazy'; "
            "from hwgen.build import Build; import hwgen.quantize.job; assert callable(hwgen.build); "
            "assert callable(hwgen.quantize) and hwgen.build.Build is Build; print(hwgen.load.__module__)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "hwgen.api\n"), done.stderr


def test_names():
    stub = (ROOT / "hwgen" / "__init__.pyi").read_text()
    assert tuple(re.findall(r"import (\w+) as \1$", stub, re.M)) == NAMES
    assert all(callable(getattr(hwgen, name)) and name in dir(hwgen) for name in NAMES)
    page = (DOCS / "python.md").read_text()
    assert all(f"`hwgen.{name}" in page for name in NAMES)
    assert (ROOT / "hwgen" / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        _ = hwgen.bild


def test_from_a_description_to_figures(model, tmp_path, monkeypatch):
    """Build, prediction, estimate, resources, explorer: of the same network and array."""
    monkeypatch.setattr("hwgen.rtl.emit.accelerator_verilog", hollow_verilog)
    desc = hwgen.load(model)
    images = random_images(desc, 2, 1)
    found = hwgen.predict(desc, images, ["digit"])
    assert np.array_equal(found["digit"].codes, Golden(desc).run(images, "digit").output)
    made = hwgen.build(model, tmp_path / "out", preset="small")
    assert (made.params.t, made.params.c, made.params.k) == (4, 8, 4)
    cycles = {task: one.cycles for task, one in hwgen.estimate(made).items()}
    assert cycles == {task: one.cycles for task, one in hwgen.estimate(model, preset="small").items()}
    assert cycles == {task: one.cycles for task, one in hwgen.estimate(tmp_path / "out").items()}
    assert hwgen.resources(made) == hwgen.resources(hwgen.project(model, "small"))
    (tmp_path / "config.yaml").write_text("model: model\n")
    (tmp_path / "space.yaml").write_text("array: [[2, 4, 4], [4, 8, 4]]\n")
    front = hwgen.explore(tmp_path / "config.yaml", tmp_path / "found", space=tmp_path / "space.yaml", workers=1)
    assert (front[0].point.t, front[0].point.c) == (4, 8)
    with pytest.raises(hwgen.HwgenError, match="a board\n  found:    neither"):
        hwgen.explore(tmp_path / "config.yaml", tmp_path / "found")
    with pytest.raises(hwgen.HwgenError, match="a directory written by"):
        hwgen.simulate(tmp_path / "none")


def test_quantize(tmp_path):
    """As the command's: the example's description."""
    made = hwgen.quantize(ROOT / "examples" / "mnist_m3vit" / "quantize.yaml", tmp_path / "model")
    kept = hwgen.load(ROOT / "examples" / "mnist_m3vit" / "model")
    assert made.model == kept.model
    assert all(np.array_equal(made.tensors[name], tensor) for name, tensor in kept.tensors.items())
