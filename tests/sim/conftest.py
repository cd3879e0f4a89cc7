"""A small build without Verilog."""

import pytest

from hwgen.build import Build
from hwgen.compiler import auto_params, compile_model
from tests.random_model import random_description

TASKS = [
    {"name": "digit", "head": "mean", "outputs": 5, "norm": True},
    {"name": "segment", "head": "every_token", "outputs": 7, "norm": False},
]
LAYERS = [{"mlp": {"kind": "dense", "hidden": 19}},
          {"mlp": {"kind": "moe", "experts": 5, "hidden": 9, "top_k": 2, "gate": "softmax_topk"}}]  # fmt: skip


@pytest.fixture
def build(tmp_path):
    desc = random_description(7, tasks=TASKS, layers=LAYERS, class_token=False)
    p = auto_params([desc], 4, 4, 4)
    for name, text in (("rtl/hwgen_accelerator.v", ""), ("include/hwgen_regs.h", "")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return Build(tmp_path, {}, p, desc, compile_model(desc, p))
