"""A small accelerator as a build has it: its Verilog and `vivado/`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hwgen.flows.design import Design, ports_of
from hwgen.machine.devices import find_device
from hwgen.machine.emission import TOP
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import accelerator_verilog
from tests.flows.helpers import BUILD_HASH, VERILOG, project_of
from tests.hollow import hollow_verilog

PARAMS = HwParams(t=2, c=2, k=2, weight_bus=64, data_bus=64, max_tokens=8, max_experts=2, max_topk=1)


@pytest.fixture(scope="session")
def emitted() -> str:
    return accelerator_verilog(PARAMS, BUILD_HASH)


@pytest.fixture(scope="session")
def design(emitted) -> Design:
    device = find_device("zcu102")
    return Design(TOP, VERILOG, device, 200_000_000, ports_of(emitted, TOP), PARAMS, BUILD_HASH)


@pytest.fixture
def project(design, emitted, tmp_path) -> Path:
    """A build's directory with what Vivado needs."""
    return project_of(tmp_path, design, emitted)


@pytest.fixture(scope="session")
def written(design, tmp_path_factory) -> Path:
    return project_of(tmp_path_factory.mktemp("build"), design, hollow_verilog(PARAMS))


@pytest.fixture
def hollow(written, tmp_path) -> Path:
    """The same with nothing but ports in the module: quick to read."""
    return shutil.copytree(written, tmp_path / "build")
