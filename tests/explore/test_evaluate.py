"""A design's figures are those of `hwgen info`; what cannot be is said, not raised."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen.compiler import compile_model
from hwgen.estimate.cycles import estimate
from hwgen.estimate.resources import estimate_resources, total
from hwgen.explore.evaluate import Design, evaluate, narrowed
from hwgen.explore.space import Point, configuration
from hwgen.network import description
from hwgen.network.macs import macs

POINT = Point(2, 4, 4, 64, 64, 1, None, None, 2, None, "random")


def test_figures(project, setting):
    found = evaluate(setting, POINT)
    p = project.with_config(configuration(project.config, POINT, None))
    desc = project.model("random")
    compiled = compile_model(desc, p, 2)
    cycles = [estimate(compiled, task, p, latency=60).cycles / 2 for task in ("digit", "segment")]
    assert list(found.tasks.values()) == cycles and found.cycles == np.mean(cycles)
    assert found.ms == pytest.approx(2 * found.cycles / 200e3) and found.fps == pytest.approx(200e6 / found.cycles)
    need = total(estimate_resources(p))
    assert (found.resources["dsp"], found.resources["lut"]) == (need.dsp, need.lut)
    useful = np.mean([macs(desc, task) for task in ("digit", "segment")])
    assert found.utilization == pytest.approx(useful / (found.cycles * 32))
    assert found.counts and found.energy_uj > 1e-4 * found.dram_bytes
    assert Design.from_dict(found.as_dict()) == found


def test_what_cannot_be(setting):
    bad = evaluate(setting, replace(POINT, t=3))
    assert bad.refused == "array.t: a power of two from 2 to 64, not 3" and not bad.counts
    small = evaluate(setting, replace(POINT, weight_depth=2))
    assert "weight_depth of at least" in small.refused


def test_what_does_not_fit_is_not_looked_at(setting):
    found = evaluate(replace(setting, board="pynq-z2"), replace(POINT, t=64, c=64, k=32))
    assert not found.fits and not found.refused and not found.counts
    assert found.resources["dsp"] > 220 and found.cycles == 0


def test_a_slow_memory_costs_cycles(setting):
    """Two ports of 256 bits at a board whose memory gives half a byte a cycle at such a clock."""
    quick, fast = replace(setting, mhz=4000.0), replace(POINT, weights=256, data=64, weight_ports=2, batch=1)
    on_board = evaluate(replace(quick, board="pynq-z2"), fast)
    assert on_board.cycles > 1.05 * evaluate(quick, fast).cycles


def test_narrow_weights(project, setting, tmp_path):
    """They are a description that can be saved; fewer bytes, as many products."""
    desc = project.model("plain")
    narrow = narrowed(desc, 4)
    description.save(narrow, tmp_path / "narrow")
    assert set(narrow.model.weight_bits.values()) == {4}
    assert all(np.abs(tensor).max() <= 7 for name, tensor in narrow.tensors.items() if name.endswith(".weight"))
    assert narrowed(narrow, 8).model.weight_bits == {}
    of = replace(POINT, model="plain")
    wide, packed = evaluate(setting, replace(of, weight_bits=8)), evaluate(setting, replace(of, weight_bits=4))
    assert packed.dram_bytes < 0.8 * wide.dram_bytes and packed.cycles <= wide.cycles
