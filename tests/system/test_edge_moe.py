"""Edge-MoE's M3ViT with a layer of each kind, everything else in its real size: to the bit, and as fast as it was. The
trained example on the same machine."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from hwgen.common.strict_yaml import read_yaml
from hwgen.compiler import auto_params
from hwgen.network import description
from hwgen.quantize.synthetic import synthetic, synthetic_images
from sim.harness import Timing
from tests.paths import EXAMPLES, MNIST
from tests.system.helpers import Work, assert_same, harness

MODEL = EXAMPLES / "edge_moe" / "model.yaml"
#: Measured at a latency of 100. Fewer is fine: write it down here.
CYCLES = {"segmentation": 167_030, "depth": 175_343}
TOLERANCE = 1.03


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Work:
    structure = read_yaml(MODEL)
    structure["layers"] = structure["layers"][:2]
    assert [layer["mlp"]["kind"] for layer in structure["layers"]] == ["dense", "moe"]
    path = tmp_path_factory.mktemp("edge_moe") / "model.yaml"
    path.write_text(yaml.safe_dump(structure))
    desc = synthetic(path, 1)
    p = auto_params([desc, description.load(MNIST / "model")], 8, 16, 8)
    return Work(desc, replace(p, weight_depth=4096), synthetic_images(desc, 1, 1))


def test_cycles(work):
    runs = [(work, task, 0) for task in work.tasks]
    for (_, task, _), result in zip(runs, assert_same(harness(work.p), runs, Timing(100)), strict=True):
        assert result.counters["cycles"] <= TOLERANCE * CYCLES[task], task


def test_slow_memory(work):
    assert_same(harness(work.p), [(work, task, 0) for task in work.tasks], Timing(400, stall_percent=30, seed=2))


def test_trained_example(work):
    """Two test images through both tasks."""
    desc = description.load(MNIST / "model")
    with np.load(MNIST / "test.npz") as archive:
        images = archive["images"][:2].reshape(2, desc.model.image.height, desc.model.image.width, -1)
    example = Work(desc, work.p, images)
    assert_same(harness(work.p), [(example, task, run) for run in range(2) for task in example.tasks])
