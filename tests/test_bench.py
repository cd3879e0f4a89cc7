"""The full-size examples of the bench: structure, work, statistics. `make bench` simulates them."""

from pathlib import Path

import numpy as np
import pytest

from bench.run import IMAGE, build_all, cases, measure, read_bench
from golden.model import Golden
from hwgen.compiler import auto_params
from hwgen.description import parse_model
from hwgen.macs import macs
from hwgen.strict_yaml import read_yaml
from hwgen.synthetic import synthetic, synthetic_images
from sim.harness import build_harness

ROOT = Path(__file__).parents[1]
SEEDS = {Path(entry.structure).parent.name: entry.seed for entry in read_bench().models}


def example(name):
    return synthetic(ROOT / "examples" / name / "model.yaml", SEEDS[name])


@pytest.fixture(scope="module")
def edge_moe():
    return example("edge_moe")


@pytest.fixture(scope="module")
def routed(edge_moe):
    """Golden's tensors for the image of the bench, per task."""
    images = synthetic_images(edge_moe, 1, IMAGE)
    return {t.name: Golden(edge_moe).run(images, t.name, keep=True).tensors for t in edge_moe.model.tasks}


@pytest.mark.parametrize(
    "name, tokens, dim", [("edge_moe", 129, 192), ("deit_tiny", 197, 192), ("deit_small", 197, 384)]
)
def test_structure(name, tokens, dim):
    model = parse_model(read_yaml(ROOT / "examples" / name / "model.yaml"), name)
    assert (model.name, model.tokens, model.dim, model.head_dim, len(model.layers)) == (name, tokens, dim, 64, 12)
    assert model.attn_dim == dim
    kinds = ["dense", "moe" if name == "edge_moe" else "dense"] * 6
    assert [layer.mlp.kind for layer in model.layers] == kinds
    heads = [("none", None, False)] * 2 if name == "edge_moe" else [("class_token", 1000, True)]
    assert [(task.head, task.outputs, task.norm) for task in model.tasks] == heads


def test_macs_of_m3vit_by_hand(edge_moe):
    embed = 128 * 768 * 192
    attention = 4 * 129 * 192 * 192 + 3 * 2 * 129 * 129 * 64
    dense = 2 * 129 * 192 * 768
    moe = 129 * 16 * 192 + 2 * 2 * 129 * 192 * 384
    assert embed + 12 * attention + 6 * (dense + moe) == 782_719_488
    assert {macs(edge_moe, task.name) for task in edge_moe.model.tasks} == {782_719_488}


def test_one_accelerator_holds_all():
    bench = read_bench()
    models = [example(name) for name in ("deit_tiny", "deit_small")]
    shape = bench.array
    assert auto_params(models, shape.t, shape.c, shape.k).weight_depth <= (bench.buffers.weight_depth or 0)


def test_expert_loads_are_like_a_checkpoint_s(edge_moe, routed):
    """Of 16 experts 0 to 5 empty, the fullest with 33 to 77 of the 258 assignments; different for the two tasks."""
    loads = {
        task: np.array([np.bincount(tensors[f"layers.{i}.experts"].ravel(), minlength=16) for i in range(1, 12, 2)])
        for task, tensors in routed.items()
    }
    for load in loads.values():
        assert (load.sum(1) == 258).all()
        empty, fullest = (load == 0).sum(1), load.max(1)
        assert (empty <= 5).all() and empty.any(), empty
        assert (fullest >= 33).all() and (fullest <= 77).all(), fullest
    first, second = loads.values()
    assert (first != second).any(1).all()


def test_activations_are_neither_dead_nor_saturated(routed):
    for tensors in routed.values():
        for name, tensor in tensors.items():
            if name.split(".")[-1] not in ("norm1", "norm2", "q", "k", "v", "context", "attn", "mlp", "output"):
                continue
            info = np.iinfo(tensor.dtype)
            extreme = np.mean((tensor == info.min) | (tensor == info.max))
            assert extreme < 0.02, f"{name}: {extreme:.1%} saturated"
            assert tensor.std() > info.max / 400, f"{name}: standard deviation {tensor.std():.1f}"


@pytest.mark.slow
def test_m3vit_simulated(tmp_path):
    """One row of the bench, every tensor compared."""
    bench = read_bench()
    bench = bench.model_copy(update={"models": [bench.models[0].model_copy(update={"latencies": [100]})]})
    (made,), _ = build_all(bench, tmp_path)
    harness = build_harness(made.verilog, header=made.header, sources=made.path / "harness")
    row = measure(harness, next(cases(bench, [made])), tensors=True)
    assert row["bit_exact"]
    assert row["memory_floor_cycles"] < row["compute_floor_cycles"] < row["array_busy_cycles"] < row["cycles"] < 1.2e6
    assert row["utilization"] == pytest.approx(row["macs"] / 1024 / row["cycles"], abs=1e-4)


def test_seed_decides(edge_moe):
    again = example("edge_moe")
    assert all(np.array_equal(edge_moe.tensors[name], tensor) for name, tensor in again.tensors.items())
