"""Routing and experts against Python integers: ties, extremes, empty and full queues."""

import numpy as np
import pytest

from golden.model import Golden
from golden.moe import GATES, gate_probabilities, route, top_k
from tests.golden import scalar
from tests.random_model import random_description, random_images

LIMITS = (-(1 << 23), (1 << 23) - 1)


def test_ties_go_to_the_lower_index() -> None:
    t = np.array([[5, 5, 5, 5], [1, 7, 7, 7], [7, 1, 2, 7], [-3, -2, -2, -3]], np.int32)
    assert top_k(t, 2).tolist() == [[0, 1], [1, 2], [0, 3], [1, 2]]
    assert top_k(t, 3).tolist() == [[0, 1, 2], [1, 2, 3], [0, 2, 3], [0, 1, 2]]


def test_the_order_of_logits_counts_even_where_weights_are_equal() -> None:
    """Logits one step apart have the same p, yet the larger wins."""
    winners, weights = route(np.array([[0, 1, 2]], np.int32), 2, "topk_softmax")
    assert winners.tolist() == [[1, 2]] and weights.tolist() == [[32768, 32768]]


def test_gate_probabilities_every_step() -> None:
    u = np.arange(0, 20 * 256)
    t = LIMITS[1] - 256 * u
    got = gate_probabilities(t.astype(np.int32))
    assert got.tolist() == [scalar.rnd(scalar.tables.GATE_EXP[v % 256], v // 256) for v in u.tolist()]
    assert not got[17 * 256 :].any()


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("experts", "k"), [(2, 1), (2, 2), (8, 2), (9, 4), (64, 8)])
def test_route(gate: str, experts: int, k: int) -> None:
    rng = np.random.default_rng(experts)
    t = np.concatenate(
        [
            rng.integers(*LIMITS, (20, experts), endpoint=True),
            rng.normal(0, 65536 * rng.uniform(0.1, 4, (60, 1)), (60, experts)).astype(np.int64),
            rng.integers(-2, 3, (20, experts)),
            np.full((1, experts), LIMITS[0]),
            np.full((1, experts), LIMITS[1]),
            np.where(np.arange(experts) == experts - 1, LIMITS[1], LIMITS[0])[None],
        ]
    ).astype(np.int32)
    winners, weights = route(t, k, gate)
    for row, e, w in zip(t.tolist(), winners.tolist(), weights.tolist(), strict=True):
        assert (e, w) == scalar.route(row, k, gate)
    assert weights.min() >= 0 and weights.max() <= 65536


def test_extreme_weights() -> None:
    one_sided = np.array([[LIMITS[0], LIMITS[1], LIMITS[0]]], np.int32)
    for gate in GATES:
        winners, weights = route(one_sided, 2, gate)
        assert winners.tolist() == [[0, 1]] and weights.tolist() == [[0, 65536]]
    assert route(np.zeros((1, 4), np.int32), 2, "softmax_topk")[1].tolist() == [[16384, 16384]]
    assert route(np.zeros((1, 4), np.int32), 1, "topk_softmax")[1].tolist() == [[65536]]


def test_unknown_gate() -> None:
    with pytest.raises(ValueError, match="gate must be one of softmax_topk, topk_softmax, not 'best'"):
        route(np.zeros((1, 2), np.int32), 1, "best")


@pytest.mark.parametrize("case", ["all to the last expert", "equal logits"])
@pytest.mark.parametrize("gate", GATES)
def test_whole_layer_with_extreme_routing(case: str, gate: str) -> None:
    mlp = {"kind": "moe", "experts": 4, "hidden": 10, "top_k": 1, "gate": gate}
    description = random_description(3, layers=[{"mlp": mlp}])
    bias = [0, 0, 0, (1 << 31) - 1] if case == "all to the last expert" else [0] * 4
    for task in description.model.tasks:
        name = f"layers.0.moe.gate.{task.name}"
        description.tensors[f"{name}.weight"][:] = 0
        description.tensors[f"{name}.bias"][:] = bias
    task_name = description.model.tasks[0].name
    images = random_images(description, 2, 0)
    got = Golden(description).run(images, task_name, keep=True).tensors
    full = 3 if case == "all to the last expert" else 0
    for e in range(4):
        for tokens in got[f"layers.0.expert.{e}.tokens"]:
            assert tokens.tolist() == (list(range(description.model.tokens)) if e == full else [])
    want = scalar.run(description, images[1].tolist(), task_name)
    assert got["layers.0.mlp"][1].tolist() == want["layers.0.mlp"]
