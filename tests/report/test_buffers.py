"""Where tensors lie, against the checker of hazards, which reads the program's words by itself."""

from itertools import pairwise

import numpy as np
import pytest

from hwgen.machine.isa import OPCODES, Op
from hwgen.report.buffers import BUFFERS, depths, stays, touched
from sim.hazards import Instruction
from tests.random_model import random_description
from tests.report.helpers import build_of, simulated


@pytest.mark.parametrize("seed, shape, batch", [(3, (2, 4, 4), 1), (7, (4, 2, 8), 1), (101, (4, 8, 4), 1),
                                                (104, (8, 4, 2), 2), (111, (2, 2, 2), 1)])  # fmt: skip
def test_words_are_those_of_the_hazards(tmp_path, seed, shape, batch):
    """Of each instruction, what it reads and writes of each buffer lies within the words named, and at their ends."""
    build = build_of(random_description(seed), tmp_path, *shape, batch=batch)
    p, rows = build.params, batch * build.model.model.tokens
    parts = {"X": 1, "V": 1, "Y": p.word // p.c, "H": p.word // p.c, "K": p.word // p.c}
    banks = {"X": 1, "Y": p.t, "H": p.t, "K": p.c, "V": p.k}
    seen = set()
    for task in build.compiled.entries:
        for number, instr in enumerate(build.compiled.instructions[task]):
            if instr.op == Op.END:
                continue
            fields = dict.fromkeys(OPCODES[instr.op][1], 0) | instr.fields
            effects = Instruction(p, number, instr.op, fields, range(rows)).with_rows(rows)
            named = {(writes, buffer): (first, last) for writes, buffer, first, last in touched(p, instr, rows)}
            for writes, found in ((False, effects.reads), (True, effects.writes)):
                for buffer in BUFFERS:
                    if buffer not in found:
                        assert (writes, buffer) not in named or (buffer == "X" and instr.op == Op.MATMUL), instr.name
                        continue
                    words = np.asarray(found[buffer][0]) // (banks[buffer] * parts[buffer])
                    first, last = named[writes, buffer]
                    assert (first, last) == (words.min(), words.max()), (instr.name, buffer, writes)
                    seen.add((instr.op, writes, buffer))
    assert {(Op.MATMUL, True, "X"), (Op.ATTENTION, False, "V"), (Op.NORM, True, "Y"), (Op.IMAGE, True, "Y")} <= seen


def test_stays(build):
    """Within the buffers and the run; two tensors never have the same word at the same time; the residual stream goes
    on without a gap from the embedding to the output."""
    made, deep = simulated(build, "digit"), depths(build.params)
    found = stays(build, made)
    for stay in found:
        assert 0 <= stay.first <= stay.last < deep[stay.buffer]
        assert 0 <= stay.begin < stay.end <= made.cycles
    for buffer in BUFFERS:
        mine = [stay for stay in found if stay.buffer == buffer]
        assert mine
        for one in mine:
            for other in mine:
                if one is not other and one.meets(other.first, other.last):
                    assert one.end <= other.begin + 1 or other.end <= one.begin + 1, (one, other)
    names = [stay.tensor for stay in found if stay.buffer == "X"]
    assert names == ["position", "embed", "layers.0.attn", "layers.0.mlp", "layers.1.attn", "layers.1.mlp",
                     "digit.output"]  # fmt: skip
    stream = [stay for stay in found if stay.buffer == "X"][1:-1]
    assert all(one.end == other.begin for one, other in pairwise(stream))


def test_an_empty_queue_has_no_tensor(build):
    """Its gather never ran; its products have no rows."""
    made = simulated(build, "digit")
    program, table = build.compiled.instructions["digit"], made.instructions
    begin = [None if instr.op == Op.GATHER and instr.fields["expert"] == 2 else at
             for instr, at in zip(program, table.begin)]  # fmt: skip
    without = made.model_copy(update={"instructions": table.model_copy(update={"begin": begin})})
    name = "layers.1.expert.2.hidden"
    assert name in [stay.tensor for stay in stays(build, made)]
    assert name not in [stay.tensor for stay in stays(build, without)]
