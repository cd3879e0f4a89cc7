"""Windows of hidden channels: where each one's operands are, and by which zero point they are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwgen.compiler import auto_params, buffer_needs, compile_model
from hwgen.compiler.windows import Windows
from hwgen.machine.isa import Op
from hwgen.network.description import Description
from tests.random_model import random_description

LAYERS = [{"mlp": {"kind": "dense", "hidden": 21, "windows": 3}}]
SHAPE = {"dim": 10, "heads": 1, "head_dim": 5}
ZERO = "layers.0.mlp.activation.zero"


def described() -> Description:
    """Channel 3 with three windows, channel 7 with two."""
    count = np.ones(21, np.uint8)
    count[[3, 7]] = 3, 2
    desc = random_description(1, layers=LAYERS, windows=count, **SHAPE)
    return replace(desc, tensors=desc.tensors | {ZERO: np.array([-200], np.int16)})


def test_places() -> None:
    windows = Windows.of(described(), 0, word=8)
    assert windows.channels == ((3, 7), (3,))
    assert windows.positions == (tuple(range(21)), (24, 25), (32,))
    assert windows.used == 33 and windows.operands == (*range(21), 24, 25, 32)


def test_program() -> None:
    desc = described()
    p = auto_params([desc], 4, 4, 8, weight_bus=64, data_bus=64)
    compiled = compile_model(desc, p)
    made = [one.fields for one in compiled.instructions[desc.model.tasks[0].name] if one.fields.get("activate")]
    zeros = list(dict.fromkeys(one["act_zero"] for one in made))
    assert zeros == [zero % 4096 for zero in (-200, -710, -1220)]
    words = [next(one.get("d_word", 0) for one in made if one["act_zero"] == zero) for zero in zeros]
    assert words == [0, 24 // p.c, 32 // p.c]
    fc2 = next(one for one in compiled.instructions[desc.model.tasks[0].name] if one.name == "layers.0.mlp")
    assert fc2.op == Op.MATMUL and fc2.fields["k_steps"] == 5
    plain = random_description(1, layers=[{"mlp": {"kind": "dense", "hidden": 33}}], **SHAPE)
    assert buffer_needs(desc, p)["h_depth"] == buffer_needs(plain, p)["h_depth"]
