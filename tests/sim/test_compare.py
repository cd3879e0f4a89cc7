"""The first difference is found where it was put, in every kind of buffer."""

import numpy as np
import pytest

from golden.model import Golden
from hwgen.compiler import auto_params, compile_model
from sim.compare import compare_arrays, first_difference, image_tensors, read_probe
from sim.isa_model import run_task
from tests.random_model import random_description, random_images

MOE = {"kind": "moe", "experts": 3, "hidden": 20, "top_k": 2, "gate": "topk_softmax"}


@pytest.fixture(scope="module")
def run():
    desc = random_description(
        11, layers=[{"mlp": MOE}], tasks=[{"name": "map", "head": "every_token", "outputs": 5, "norm": True}],
        class_token=True, heads=2, head_dim=7, dim=20,
        image={"height": 4, "width": 8, "channels": 1}, patch={"height": 2, "width": 2},
    )  # fmt: skip
    p = auto_params([desc], 4, 8, 16)
    compiled = compile_model(desc, p)
    images = random_images(desc, 1, 0)
    probes = compiled.probes["map"]
    tensors = image_tensors(Golden(desc).run(images, "map", keep=True).tensors, 0)
    _, dumps = run_task(p, compiled.program, compiled.weights, compiled.entries["map"], images.tobytes(),
                        compiled.output_bytes["map"], wanted={probe.instruction for probe in probes})
    return probes, dumps, tensors


@pytest.mark.parametrize(
    "tensor, index",
    [("patches", (3, 1)), ("embed", (0, 19)), ("layers.0.q", (8, 13)), ("layers.0.k", (4, 6)), ("layers.0.v", (7, 7)),
     ("layers.0.context", (5, 9)), ("layers.0.expert.1.hidden", (1, 17)), ("map.norm", (2, 0)), ("map.output", (3, 4)),
     ("layers.0.logits", (8, 2)), ("layers.0.score", (1, 4, 8)), ("layers.0.score", (0, 8, 0))],
)  # fmt: skip
def test_finds_a_changed_element(run, tensor, index):
    probes, dumps, tensors = run
    assert first_difference(probes, dumps, tensors) is None
    changed = dict(tensors) | {tensor: tensors[tensor].copy()}
    changed[tensor][index] ^= 1
    difference = first_difference(probes, dumps, changed)
    assert difference is not None
    assert (difference.tensor, difference.index, difference.wrong) == (tensor, index, 1)
    assert (difference.expected, difference.found) == (changed[tensor][index], tensors[tensor][index])
    head = index[0] if len(index) > 2 else None
    probe = next(p for p in probes if (p.tensor, p.head) == (tensor, head)
                 and p.column <= index[-1] < p.column + len(p.channels)
                 and (p.row_end is None or p.tensor_row <= index[-2] < p.tensor_row + p.row_end - p.row_begin)
                 )  # fmt: skip
    assert difference.instruction == probe.instruction


def test_scores_of_earlier_query_tiles_are_not_compared(run):
    """Nine tokens in tiles of four: tile 2 took the place of tile 0."""
    probes, dumps, tensors = run
    score = tensors["layers.0.score"].copy()
    score[:, :4] ^= 1
    assert first_difference(probes, dumps, tensors | {"layers.0.score": score}) is None


def test_first_in_program_order(run):
    probes, dumps, tensors = run
    changed = {name: tensor.copy() for name, tensor in tensors.items()}
    changed["map.output"][0, 0] ^= 1
    changed["layers.0.v"][0, 0] ^= 1
    assert first_difference(probes, dumps, changed).tensor == "layers.0.v"


def test_queues(run):
    probes, dumps, tensors = run
    expert = next(e for e in range(3) if len(tensors[f"layers.0.expert.{e}.tokens"]) > 1)
    name = f"layers.0.expert.{expert}.tokens"
    other = tensors | {name: tensors[name][:-1]}
    difference = first_difference(probes, dumps, other)
    assert (difference.tensor, difference.found - difference.expected) == (f"layers.0.expert.{expert}.rows", 1)
    other = tensors | {name: tensors[name] + np.eye(1, len(tensors[name]), 1, dtype=np.int32)[0]}
    assert (first_difference(probes, dumps, other).tensor, first_difference(probes, dumps, other).index) == (name, (1,))
    weights = tensors["layers.0.weights"].copy()
    weights[4, 1] += 1
    difference = first_difference(probes, dumps, tensors | {"layers.0.weights": weights})
    assert (difference.tensor, difference.index) == ("layers.0.weights", (4, 1))
    assert str(difference).startswith(f"instruction {difference.instruction}: layers.0.weights[4, 1] must be ")


def test_read_probe_gives_the_tensor(run):
    probes, dumps, tensors = run
    blocks = [p for p in probes if p.tensor == "layers.0.attn"]
    found = [read_probe(probe, dumps[probe.instruction], probe.row_end - probe.row_begin) for probe in blocks]
    assert len(found) > 1
    assert np.array_equal(np.concatenate(found), tensors["layers.0.attn"])


def test_output_arrays():
    expected = np.array([[1, 2], [3, 4]])
    assert compare_arrays(None, "t.output", expected, expected) is None
    difference = compare_arrays(None, "t.output", expected, np.array([[1, 2], [9, 9]]))
    assert str(difference) == "output region: t.output[1, 0] must be 3, found 9 (2 of 4 values differ)"
    with pytest.raises(ValueError, match=r"must have the shape \(2, 2\), not \(1, 2\)"):
        compare_arrays(None, "t.output", expected, expected[:1])
