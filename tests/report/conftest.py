"""A small network with experts on a small array, without Verilog."""

import pytest

from hwgen.build import Build
from tests.random_model import small_description
from tests.report.helpers import build_of


@pytest.fixture
def build(tmp_path) -> Build:
    return build_of(small_description(), tmp_path, 2, 4, 4, weight_bus=64, data_bus=64)
