"""Heads: which tokens each kind takes, means, outputs without a linear layer."""

import numpy as np
import pytest

from golden.heads import HEADS, TOKENS, Head, mean_tokens
from golden.linear import Scale
from tests.golden import scalar
from tests.random_model import random_description


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("kind", "prefix"), [(kind, prefix) for kind in HEADS for prefix in range(TOKENS.get(kind, -1) + 1, 3)]
)
def test_head(kind: str, prefix: int, norm: bool) -> None:
    norm |= kind == "mean_norm"
    task = {"name": "a", "head": kind, "norm": norm} | ({} if kind == "none" else {"outputs": 7})
    task |= {"mlp": {"kind": "dense", "hidden": 9}} if kind == "map" else {}
    description = random_description(5, class_token=prefix > 0, distillation_token=prefix > 1, tasks=[task])
    model = description.model
    head = Head.load(description.tensors, "tasks.a", kind=kind, norm=norm, prefix=prefix,
                     heads=model.heads, activation="gelu")  # fmt: skip
    x = np.random.default_rng(0).normal(0, 2000, (2, model.tokens, model.dim)).astype(np.int16)
    x[0, 0], x[1, -1] = 32767, -32768
    got = head(x)
    assert got["output"].dtype == np.int16
    rows, outputs = {"every_token": (model.patches, 7), "none": (model.tokens, model.dim)}.get(kind, (1, 7))
    assert got["output"].shape == (2, rows, outputs)
    for b in range(2):
        want = scalar.head(description.tensors, model.tasks[0], prefix, x[b].tolist(), model.heads)
        assert {name: tensor[b].tolist() for name, tensor in got.items()} == want


def test_mean_saturates_and_rounds() -> None:
    y = np.array([[[-255, 255, 1, -1], [-255, 255, 0, 0]]], np.int16)
    assert mean_tokens(y, Scale(mult=32768, shift=16)).tolist() == [[[-255, 255, 1, 0]]]
    assert mean_tokens(y, Scale(mult=65535, shift=0)).tolist() == [[[-255, 255, 255, -255]]]


def test_unknown_head() -> None:
    with pytest.raises(ValueError, match=r"head must be one of class_token, distillation_token, .*, none, not 'first'"):
        Head.load({}, "tasks.a", kind="first", norm=True, prefix=1)
