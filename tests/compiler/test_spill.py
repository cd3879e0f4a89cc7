"""The residual stream in DRAM: the same bits from a buffer that holds two blocks of it, no hazards, nothing refused in
silence."""

from dataclasses import replace

import pytest

from hwgen.compiler import auto_params, buffer_needs, compile_model
from hwgen.compiler.blocks import Blocks, spill_unit, spillable
from hwgen.compiler.sizing import fitted
from hwgen.machine.isa import Op
from sim.hazards import find_hazards
from tests.compiler.test_blocks import LARGE
from tests.random_model import random_description, random_images
from tests.sim.test_isa_model import SHAPES, check

#: 51 tokens and more, all heads but attention pooling.
TASKS = [{"name": "a", "head": "class_token", "outputs": 7, "norm": True},
         {"name": "b", "head": "every_token", "outputs": 19, "norm": True},
         {"name": "c", "head": "none", "norm": True}, {"name": "d", "head": "none", "norm": False},
         {"name": "e", "head": "mean", "outputs": 40, "norm": True},
         {"name": "f", "head": "mean_norm", "outputs": 5, "norm": True}]  # fmt: skip


def network(seed, tasks, **more):
    return random_description(seed, **LARGE | {"tasks": tasks, "post_norm": False, "norm_pre": False} | more)


def least(desc, shape):
    """A machine for blocks of the stream as small as may be, whether they pay or not."""
    p = auto_params([desc], *shape)
    blocks = Blocks.spilled(desc, p, 1, 0, 2)
    return replace(p, **buffer_needs(desc, p, blocks=blocks) | {"weight_depth": p.weight_depth, "spill": True})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed, tasks", [(105, TASKS[:3]), (120, TASKS[3:]), (121, TASKS[1:4])])
def test_smallest(seed, tasks, shape):
    desc = network(seed, tasks, register_tokens=seed % 7)
    p = least(desc, shape)
    if spill_unit(p) >= 16:  # nearly all of the 51 tokens
        assert spillable(desc, p, 1) == "few tokens" or fitted(desc, p).blocks.stream is None
        return
    assert fitted(desc, p).blocks.stream == 2 * spill_unit(p)
    check(desc, shape, random_images(desc, 1, 0), **p.as_dict())
    compiled = compile_model(desc, p)
    for task, entry in compiled.entries.items():
        assert [str(hazard) for hazard in find_hazards(p, compiled.program, entry)] == [], task
        stores = [instr for instr in compiled.instructions[task] if instr.op == Op.STORE]
        ends = [instr.fields["offset"] + instr.fields["bytes"] for instr in stores]
        assert len(ends) > 4 and max(ends) == compiled.region_bytes[task]
