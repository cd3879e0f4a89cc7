"""Networks cut into blocks: the same bits in smaller buffers, no hazards, and no budget that is missed in silence."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, compile_model
from hwgen.compiler.blocks import Blocks, spans
from hwgen.compiler.sizing import buffer_bytes, fitted
from sim.hazards import find_hazards
from tests.random_model import random_description, random_images
from tests.sim.test_isa_model import SHAPES, check

KINDS = {"mixed": {}, "gated": {"layers": [{"mlp": {"kind": "dense", "hidden": 40, "activation": "silu", "gated": True}}]}}


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
