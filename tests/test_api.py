"""The names of `hwgen`: there, lazy, the same as the command line's; modules of the same name stay modules."""

import json
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

import hwgen
from golden.model import Golden
from hwgen.network import description
from sim.job import Timing
from tests.command import run_command
from tests.hollow import hollow_verilog
from tests.paths import DOCS, MNIST, ROOT
from tests.random_model import random_images, small_description

NAMES = ("HwgenError", "build", "designs", "estimate", "explore", "load", "predict", "project", "quantize",
         "resources", "simulate")  # fmt: skip


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
    seen, said = [], []
    every = hwgen.designs(hwgen.project(tmp_path / "config.yaml"), tmp_path / "found", space=tmp_path / "space.yaml",
                          progress=lambda *now: seen.append(now), note=said.append)  # fmt: skip
    assert [one.point.t for one in every] == [2, 4] and {one.point for one in front} <= {one.point for one in every}
    assert (seen, said) == ([("designs", 2, 2)], ["2 of 2 designs are known from before"])
    slow = hwgen.designs(tmp_path / "config.yaml", tmp_path / "slow", space=tmp_path / "space.yaml", clock=100,
                         workers=1)  # fmt: skip
    assert [one.ms for one in slow] == pytest.approx([2 * one.ms for one in every])
    with pytest.raises(hwgen.HwgenError, match="a board\n  found:    neither"):
        hwgen.explore(tmp_path / "config.yaml", tmp_path / "found")
    with pytest.raises(hwgen.HwgenError, match=r"hwgen: board\n  expected: a board: zcu102"):
        hwgen.estimate(made, board="moon")
    with pytest.raises(hwgen.HwgenError, match="a directory written by"):
        hwgen.simulate(tmp_path / "none")


def test_quantize(tmp_path):
    """As the command's: the example's description."""
    made = hwgen.quantize(MNIST / "quantize.yaml", tmp_path / "model")
    kept = hwgen.load(MNIST / "model")
    assert made.model == kept.model
    assert all(np.array_equal(made.tensors[name], tensor) for name, tensor in kept.tensors.items())


def test_a_boards_memory_slows_the_estimate():
    """At a high clock its memory gives few bytes per cycle."""
    model = MNIST / "model"
    usual = hwgen.estimate(model, preset="large", latency=100)
    fast = hwgen.estimate(model, preset="large", latency=100, board="zcu102", clock=1000)
    assert all(fast[task].cycles > one.cycles for task, one in usual.items())


@pytest.fixture
def simulated(model, tmp_path, monkeypatch):
    """A build with labelled images, and what `hwgen.simulate` hands on; nothing is simulated."""
    monkeypatch.setattr("hwgen.rtl.emit.accelerator_verilog", hollow_verilog)
    made, handed = hwgen.build(model, tmp_path / "out", preset="small"), {}
    np.savez(tmp_path / "out" / "images.npz", images=random_images(made.model, 5, 1), labels=np.arange(5))
    monkeypatch.setattr("sim.simulate.simulate", lambda *given, **named: handed.update(given=given, **named))
    return made, handed


def test_simulate_takes_what_the_command_takes(simulated):
    """Of nobody's choice the build's images with their labels, or a saved case's number and memory."""
    made, handed = simulated
    hwgen.simulate(made)
    assert handed["given"][1].shape[0] == 4 and handed["timing"] == Timing()
    classifying = [task.name for task in made.model.model.tasks if task.head != "every_token" and task.outputs]
    assert {task: labels.tolist() for task, labels in handed["labels"].items()} == {
        task: [[0], [1], [2], [3]] for task in classifying
    }  # fmt: skip
    facts = asdict(Timing(7, seed=3))
    (made.path / "case.json").write_text(json.dumps({"timing": facts, "images": 2}))
    hwgen.simulate(made.path)
    assert len(handed["given"][1]) == 2 and (handed["timing"].latency, handed["timing"].seed) == (7, 3)
    images = random_images(made.model, 1, 2)
    hwgen.simulate(made, images, timing=Timing(9))
    assert handed["given"][1] is images and handed["timing"] == Timing(9) and not handed["labels"]


@pytest.mark.parametrize("name, command", [
    ("quantize", ("quantize", MNIST / "quantize.yaml", "-o", "{tmp}/made")),
    ("project", ("build", "{tmp}/model", "--preset", "small", "-o", "{tmp}/made")),
    ("project", ("info", "{tmp}/model", "--preset", "small")),
    ("build", ("build", "{tmp}/model", "--preset", "small", "-o", "{tmp}/made")),
    ("predict", ("run", "{tmp}/model", "{tmp}/out/images.npz")),
    ("simulate", ("sim", "{tmp}/out")),
    ("designs", ("explore", "{tmp}/config.yaml", "--fit", "zcu102", "-o", "{tmp}/made")),
])  # fmt: skip
def test_commands_use_it(name, command, simulated, tmp_path, monkeypatch, capsys):
    """One way through the code: without the function, no command."""
    (tmp_path / "config.yaml").write_text("model: model\n")

    def gone(*given, **named):
        raise hwgen.HwgenError("hwgen.api", name, expected="nobody", found="a command")

    monkeypatch.setattr(f"hwgen.api.{name}", gone)
    code, out, err = run_command(monkeypatch, capsys, *(str(part).format(tmp=tmp_path) for part in command))
    assert code == 2 and err.endswith(f"hwgen.api: {name}\n  expected: nobody\n  found:    a command\n"), (out, err)
    assert not (tmp_path / "made").exists()
