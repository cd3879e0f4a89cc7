"""After the clearing program, nothing in the buffers depends on what was there before."""

import numpy as np
import pytest

from hwgen.compiler import auto_params, compile_model
from hwgen.machine.isa import Op
from hwgen.network.description import Description
from sim.isa_model import Machine
from tests.random_model import random_description

SHAPES = [(4, 8, 8), (8, 4, 2), (2, 4, 1), (4, 8, 16), (4, 2, 32), (16, 16, 4), (2, 64, 8), (64, 2, 1)]


def cleared(desc: Description, shape: tuple[int, int, int]) -> list[Machine]:
    """Machines that had different things in their buffers before."""
    p = auto_params([desc], *shape)
    compiled = compile_model(desc, p, clear=True)
    machines = [Machine(p, compiled.program, compiled.weights, seed=seed) for seed in (1, 2)]
    for machine in machines:
        machine.run(compiled.clear)
    return machines


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_left(seed, shape):
    one, other = cleared(random_description(seed), shape)
    p, (a, b) = one.p, (one.dump(), other.dump())
    # Rows beyond max_tokens exist in no program: neither do their banks, nor such keys.
    for name, banks in (("Y", p.t), ("H", p.t), ("K", p.c), ("V", p.k), ("SCORE", p.t)):
        rows = min(banks, p.max_tokens)
        a[name], b[name] = a[name][:rows], b[name][:rows]
    keys = np.arange(p.max_tokens)
    for half in (0, 1):
        at = keys // p.word * 2 + half, keys % p.word
        assert np.array_equal(a["SCORE"][:, *at], b["SCORE"][:, *at]), half
    del a["SCORE"]
    words = np.arange(len(a["LOGITS"])) % one.gate_stride < one.gate_words  # of a token: the others do not exist
    a["LOGITS"], b["LOGITS"] = a["LOGITS"][words], b["LOGITS"][words]
    for name, array in a.items():
        assert np.array_equal(array, b[name]), name
    assert np.array_equal(one.table, other.table) and np.array_equal(one.activation, other.activation)


def test_a_program_leaves_something():
    """What the test above looks at is not always the same: without the clearing program it differs."""
    desc = random_description(0)
    p = auto_params([desc], 4, 8, 8)
    compiled = compile_model(desc, p, clear=True)
    assert compile_model(desc, p).clear is None
    assert compiled.program[compiled.clear] == Op.LOAD
    one, other = (Machine(p, compiled.program, compiled.weights, seed=seed).dump() for seed in (1, 2))
    assert not any(np.array_equal(one[name], other[name]) for name in one)
