"""The accelerator of this directory in cocotb: registers, interrupt, cocotbext-axi's memories behind the AXI masters.

Every task of every model runs on a random image, in turn and without a reset, while all channels stall at random. The
outputs and, if the build has debug ports, all intermediate tensors must be those of the golden model, to the bit. Needs
`pip install 'hwgen[sim]'`. `SIM=icarus pytest tests` takes Icarus Verilog in place of Verilator: it knows X, and is
slower by far. The bench itself is the module sim.bench_accelerator of hwgen; start there for a bench of your own.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hwgen.build import load_build
from sim.harness import Timing
from sim.simulate import simulate

OUT = Path(__file__).resolve().parents[1]
MODELS = [model["name"] for model in json.loads((OUT / "manifest.json").read_text())["models"]]
ENGINE = {"verilator": "cocotb", "icarus": "icarus"}[os.environ.get("SIM", "verilator")]
SEED = 1  #: of image, stalls, latencies and, in Verilator, of the bits that memories start with


@pytest.mark.parametrize("model", MODELS)
def test_against_golden(model):
    build = load_build(OUT, model)
    image = build.model.model.image
    images = np.random.default_rng(SEED).integers(0, 256, (1, image.height, image.width, image.channels), np.uint8)
    report = simulate(build, images, engine=ENGINE, timing=Timing(latency=20, stall_percent=30, seed=SEED))
    for task in report.tasks.values():
        assert task.first_difference is None
        assert task.tensors > 0 or not build.emission.debug
