"""Networks cut into blocks: the same bits in smaller buffers, no hazards, and no budget that is missed in silence."""

from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, buffer_needs, check_fits, compile_model
from hwgen.compiler.blocks import Blocks, even, spans
from hwgen.compiler.sizing import buffer_bytes, fitted
from sim.hazards import find_hazards
from tests.random_model import random_description, random_images
from tests.sim.test_isa_model import SHAPES, check

MOE = {"mlp": {"kind": "moe", "experts": 5, "hidden": 24, "top_k": 2, "gate": "softmax_topk"}}
GATED = {"mlp": {"kind": "dense", "hidden": 40, "activation": "silu", "gated": True}}
TASKS = [{"name": "a", "head": "class_token", "outputs": 7, "norm": True},
         {"name": "b", "head": "map", "norm": True, "mlp": {"kind": "dense", "hidden": 9}}]  # fmt: skip
#: 51 tokens, five heads, both kinds of MLP.
LARGE = {"image": {"height": 10, "width": 10, "channels": 1}, "patch": {"height": 2, "width": 1}, "class_token": True,
         "layers": [MOE, GATED, {"mlp": {"kind": "dense", "hidden": 60, "windows": 3}}], "heads": 5, "head_dim": 6,
         "dim": 14, "tasks": TASKS, "qk_norm": False}  # fmt: skip


def smallest(desc, shape, batch):
    """A machine for blocks as small as may be."""
    with pytest.raises(HwgenError) as caught:
        auto_params([desc], *shape, batch=batch, on_chip=0)
    least = int(caught.value.expected.removeprefix("at least ").removesuffix(" KB").replace(",", "")) * 1024
    return auto_params([desc], *shape, batch=batch, on_chip=least)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed, shape", [(104 + number, SHAPES[number % len(SHAPES)]) for number in range(24)])
def test_smallest_blocks(seed, shape, batch):
    desc = random_description(seed)
    p = smallest(desc, shape, batch)
    whole = auto_params([desc], *shape, batch=batch)
    assert buffer_bytes(p) <= buffer_bytes(whole)
    check(desc, shape, random_images(desc, batch, seed), batch, **p.as_dict())
    compiled = compile_model(desc, p, batch)
    for task, entry in compiled.entries.items():
        assert [str(hazard) for hazard in find_hazards(p, compiled.program, entry)] == [], task


@pytest.mark.parametrize("blocks", [Blocks(5, 51, 51), Blocks(3, 32, 51), Blocks(2, 51, 24), Blocks(1, 16, 16)])
@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 4, 1), (8, 4, 16), (4, 16, 2)])
@pytest.mark.parametrize("post_norm", [False, True])
def test_buffers_just_large_enough(shape, blocks, post_norm):
    """Groups with fewer heads at the end, blocks with fewer rows; what fits is used to the last word."""
    layers = [GATED, LARGE["layers"][2]] if post_norm else LARGE["layers"]
    desc = random_description(105, **LARGE | {"layers": layers}, post_norm=post_norm)
    p = auto_params([desc], *shape)
    p = replace(p, **buffer_needs(desc, p, blocks=blocks) | {"weight_depth": p.weight_depth})
    found = fitted(desc, p).blocks
    assert found.heads >= blocks.heads
    for name in ("rows", "tokens"):
        assert len(spans(51, getattr(found, name))) <= len(spans(51, getattr(blocks, name))), name
    assert blocks == Blocks.whole(desc, 1) or found != Blocks.whole(desc, 1)
    check(desc, shape, random_images(desc, 1, 0), **p.as_dict())
    for name in ("h_depth", "k_depth", "v_depth"):
        less = replace(p, **{name: getattr(p, name) - 1})
        if fitted(desc, less).blocks.heads == found.heads == 1 and name != "h_depth":  # one head cannot be cut
            with pytest.raises(HwgenError, match=name):
                check_fits(desc, less)
            continue
        cut = fitted(desc, less)
        assert all(need <= getattr(less, field) for field, (need, _) in cut.worst().items()), name


def test_they_are_told():
    desc = random_description(105, **LARGE)
    assert Blocks.whole(desc, 1).text(desc, 1) == "none: all tensors are on chip as a whole"
    assert Blocks(2, 51, 24).text(desc, 1) == "2 of 5 heads, 24 of 51 tokens for the experts at a time"


def test_blocks_are_even():
    """577 rows in blocks of 192 at most would be three and a row."""
    assert even(577, 192, 8) == 152 and even(577, 577, 8) == 577 and even(51, 16, 8) == 16 and even(9, 8, 8) == 8
    for total in range(1, 60):
        for size in range(4, total + 1, 4):
            made = spans(total, even(total, size, 4))
            assert len(made) == len(spans(total, size)) and max(end - begin for begin, end in made) <= size


def test_a_budget_that_cannot_be_kept():
    """It is said what would do, and that does."""
    desc = random_description(105, **LARGE)
    with pytest.raises(HwgenError) as caught:
        auto_params([desc], 4, 8, 8, on_chip=2048)
    assert (caught.value.key, caught.value.found) == ("on_chip", "2 KB")
    least = int(caught.value.expected.split()[2])
    assert buffer_bytes(auto_params([desc], 4, 8, 8, on_chip=1024 * least)) <= 1024 * least
