"""A small project of two models, one with experts."""

from functools import partial
from pathlib import Path

import pytest

from hwgen.config import Project, load_project
from hwgen.explore.evaluate import Setting
from hwgen.network import description
from hwgen.rtl import emit
from tests.command import run_command
from tests.hollow import hollow_verilog
from tests.random_model import random_description, small_description


@pytest.fixture
def config(tmp_path) -> Path:
    experts = small_description()
    plain = random_description(2)
    named = plain.model.model_copy(update={"name": "plain"})
    object.__setattr__(plain, "model", named)
    description.save(experts, tmp_path / "experts")
    description.save(plain, tmp_path / "plain")
    (tmp_path / "config.yaml").write_text("models: [experts, plain]\narray: {t: 2, c: 4, k: 4}\n")
    return tmp_path / "config.yaml"


@pytest.fixture
def project(config) -> Project:
    return load_project(config)


@pytest.fixture
def setting(config) -> Setting:
    return Setting(str(config), latency=60, board=None, mhz=200.0)


@pytest.fixture
def hwgen(monkeypatch, capsys):
    """Runs a command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setattr(emit, "accelerator_verilog", hollow_verilog)
    return partial(run_command, monkeypatch, capsys)
