"""The gate at its limits: full and empty queues, ties, weights of zero, one winner and all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hwgen.compiler import auto_params
from hwgen.machine.params import HwParams
from hwgen.network.description import Description, check
from sim.harness import Timing
from tests.random_model import random_description, random_images
from tests.system.helpers import Work, assert_same, harness

EXPERTS = 6
TASKS = [
    {"name": "extreme", "head": "every_token", "outputs": 5, "norm": True},
    {"name": "usual", "head": "mean", "outputs": 3, "norm": False},
]


def description(
    gate: str, *, gain: float = 1.0, narrow: float = 0, winners: Sequence[int] = (1, 2, EXPERTS), hidden: int = 9,
    dim: int = 18, head_dim: int = 7, tasks: Sequence[dict[str, Any]] = TASKS, **overrides: Any,
) -> Description:  # fmt: skip
    """One winner, two, and as many as there are experts, each in a layer of its own."""
    layers = [{"mlp": {"kind": "moe", "experts": EXPERTS, "hidden": hidden, "top_k": k, "gate": gate}} for k in winners]
    return random_description(
        31, gain=gain, narrow=narrow, layers=layers, tasks=tasks, dim=dim, heads=2, head_dim=head_dim, class_token=True,
        image={"height": 6, "width": 8, "channels": 1}, patch={"height": 2, "width": 2},
        **overrides,
    )  # fmt: skip


def hardware(desc: Description) -> HwParams:
    return auto_params([desc], 4, 8, 2, weight_bus=128, data_bus=128)


def edit_gates(desc: Description, edit) -> Description:
    """Change weights, biases, multipliers and shifts of the first task's gates; the other task is left alone."""
    tensors = {name: tensor.copy() for name, tensor in desc.tensors.items()}
    for layer in range(len(desc.model.layers)):
        gate = f"layers.{layer}.moe.gate.{TASKS[0]['name']}"
        edit(*(tensors[f"{gate}.{part}"] for part in ("weight", "bias", "mult", "shift")))
    edited = Description(desc.model, tensors)
    check(edited)
    return edited


def one_takes_all(weight, bias, mult, shift):
    bias[3] = 2**30


def none_but_the_last(weight, bias, mult, shift):
    """Every other logit is at the lower limit, the winner's at the upper one: a gap of 2^24 - 1."""
    bias[:], bias[-1] = -(2**30), 2**30


def all_equal(weight, bias, mult, shift):
    weight[:], bias[:] = 0, 0


def equal_pairs(*tensors):
    """Experts 2e and 2e + 1 have the same logit for every token."""
    for tensor in tensors:
        tensor[1::2] = tensor[::2]


def as_drawn(weight, bias, mult, shift):
    pass


def expect(case, tensors) -> None:
    """That the golden model's tensors show the case."""
    for layer, k in enumerate((1, 2, EXPERTS)):
        winners, weights, logits = (tensors[f"layers.{layer}.{name}"] for name in ("experts", "weights", "logits"))
        rows = [len(tensors[f"layers.{layer}.expert.{expert}.tokens"]) for expert in range(EXPERTS)]
        assert winners.shape[1] == k
        if case is one_takes_all:
            assert rows[3] == len(winners) and (k > 1 or sum(rows) == rows[3])
        elif case is none_but_the_last:
            assert (np.ptp(logits, axis=1) == 2**24 - 1).all()
            assert (weights[:, -1] == 65536).all() and not weights[:, :-1].any()
        elif case is all_equal:
            assert (winners == np.arange(k)).all() and np.ptp(weights) == 0
        elif case is equal_pairs:
            assert (logits[:, ::2] == logits[:, 1::2]).all()
            assert k != 1 or not (winners % 2).any()


@pytest.mark.parametrize("gate", ["softmax_topk", "topk_softmax"])
def test_extremes(gate):
    drawn = description(gate, narrow=0.5)
    p = hardware(drawn)
    runs = []
    for case in (one_takes_all, all_equal, none_but_the_last, equal_pairs, as_drawn):
        desc = edit_gates(drawn, case)
        work = Work(desc, p, random_images(desc, 1, seed=2))
        expect(case, work.tensors("extreme", 0))
        runs += [(work, task, 0) for task in work.tasks]
    machine = harness(p)
    assert_same(machine, runs)
    assert_same(machine, runs[::-1], Timing(latency=7, stall_percent=30, seed=4))
