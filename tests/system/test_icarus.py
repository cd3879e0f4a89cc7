"""A whole small accelerator in Icarus, which knows X: to the bit as Verilog-2005 and as SystemVerilog."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hwgen.build import Build, build
from hwgen.network import description
from sim import icarus
from sim.harness import SimulationError, Timing
from sim.simulate import UNSEEN, Report, simulate
from tests.paths import ROOT
from tests.random_model import random_description, random_images

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no iverilog (apt install iverilog)")

MODEL = {
    "tasks": [{"name": "digit", "head": "class_token", "outputs": 5, "norm": True}], "class_token": True,
    "layers": [{"mlp": {"kind": "moe", "experts": 2, "hidden": 3, "top_k": 1, "gate": "softmax_topk"}}],
    "image": {"height": 2, "width": 4, "channels": 1}, "patch": {"height": 2, "width": 2}, "dim": 4, "heads": 2,
    "head_dim": 2,
}  # fmt: skip
CONFIG = "model: model\narray: {t: 2, c: 2, k: 2}\nbuses: {weights: 64, data: 64}\n"


def built(home: Path, more: str) -> Build:
    description.save(random_description(3, **MODEL), home / "model")
    (home / "config.yaml").write_text(CONFIG + more)
    return build(home / "config.yaml", home / "out")


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Build:
    """As for a board: a prefix, no debug ports; memories that begin with zeros."""
    return built(tmp_path_factory.mktemp("bare"), "rtl: {prefix: my_, debug: false, ram_init: true}\n")


def run(made: Build, monkeypatch, **options) -> Report:
    monkeypatch.setattr(icarus, "build_icarus", partial(icarus.build_icarus, **options))
    return simulate(made, random_images(made.model, 1, 5), engine="icarus", timing=Timing(latency=2, watchdog=20_000))


def test_as_verilog_2005(bare, monkeypatch):
    """No memory is given first contents by the simulation."""
    report = run(bare, monkeypatch, standard="2005", random=False)
    assert report.identical
    assert report.as_dict()["note"] == UNSEEN
    assert report.tasks["digit"].tensors == 0


def test_as_system_verilog(tmp_path):
    """By the tests that a build brings along, on all tensors; memories begin with random bits."""
    made = built(tmp_path, "")
    environment = {"SIM": "icarus", "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    environment |= {name: value for name, value in os.environ.items() if name == "HWGEN_CACHE"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", made.path / "tests"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout
