"""The residual stream in DRAM: the same bits from a buffer that holds two blocks of it, no hazards, nothing refused in
silence."""

from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, buffer_needs, check_fits, compile_model
from hwgen.compiler.blocks import Blocks, spill_unit, spillable
from hwgen.compiler.sizing import buffer_bytes, fitted
from hwgen.machine.isa import Op
from hwgen.report.parts import kind_of, part_of
from sim.hazards import find_hazards
from tests.compiler.test_blocks import GATED, LARGE, smallest
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


def test_only_where_blocks_do_not_suffice():
    """The smaller the budget, the more is given up: nothing, blocks, the stream; each is kept."""
    desc, shape, found = network(105, TASKS[:3]), (4, 8, 8), []
    budget = buffer_bytes(auto_params([desc], *shape))
    with pytest.raises(HwgenError) as caught:
        auto_params([desc], *shape, on_chip=0)
    least = 1024 * int(caught.value.expected.split()[2])
    for share in range(9):
        on_chip = least + (budget - least) * (8 - share) // 8
        p = auto_params([desc], *shape, on_chip=on_chip)
        assert buffer_bytes(p) <= on_chip
        found.append(p.spill)
        check_fits(desc, p)
    assert found == sorted(found) and found[-1] and not found[0]


@pytest.mark.parametrize("key", ["qk_norm", "post_norm", "norm_pre"])
def test_what_stays_on_chip(key):
    layers = [GATED, GATED]  # no mixture of experts behind norms
    desc = network(105, TASKS[:1], layers=layers, **{key: True})
    reasons = {"qk_norm": "normalised q and k", "post_norm": "norms behind", "norm_pre": "a norm before the layers"}
    assert spillable(desc, auto_params([desc], 4, 8, 8), 1) == reasons[key]
    assert spillable(network(105, TASKS[:1]), auto_params([desc], 4, 8, 8), 2) == "more than one image"
    assert not smallest(desc, (4, 8, 8), 1).spill


def test_parts_of_a_run():
    """What comes and goes belongs to the part of the network that needs it."""
    desc = network(105, TASKS[:1])
    program = compile_model(desc, least(desc, (4, 8, 8))).instructions["a"]
    moved = {part_of(instr.name) for instr in program if kind_of(instr) == "stream"}
    wanted = {f"layers.{layer}.{part}" for layer in range(3) for part in ("attention", "mlp")}
    assert moved == {"embed", "head"} | wanted


def test_it_is_told():
    desc = network(105, TASKS[:1])
    text = Blocks(2, 8, 16, 16).text(desc, 1)
    assert text == "2 of 5 heads, 16 of 51 rows of the residual stream, which waits in DRAM, at a time"


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
