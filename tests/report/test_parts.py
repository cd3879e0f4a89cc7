"""Cycles, products and bytes by part of the network are those of the run, each counted once."""

import pytest

from hwgen.machine.isa import Op
from hwgen.network.macs import macs
from hwgen.report.parts import fetched_bytes, kind_of, part_of, parts
from tests.random_model import random_description
from tests.report.helpers import build_of, simulated


@pytest.mark.parametrize(
    "name, part",
    [
        ("patches", "embed"), ("position", "embed"), ("embed", "embed"), ("table of gelu", "embed"),
        ("parameters of layers.3.norm1", "layers.3.attention"), ("layers.11.context head 2", "layers.11.attention"),
        ("layers.0.q", "layers.0.attention"), ("layers.0.attn", "layers.0.attention"),
        ("parameters of layers.0.attn.q_norm", "layers.0.attention"),
        ("layers.0.norm2", "layers.0.mlp"), ("layers.1.logits", "layers.1.mlp"), ("layers.1.experts", "layers.1.mlp"),
        ("layers.1.norm2 rows of expert 4", "layers.1.mlp"), ("layers.1.moe.experts.4 into mlp", "layers.1.mlp"),
        ("digit.norm", "head"), ("parameters of tasks.digit.norm", "head"), ("segment.output", "head"),
    ],
)  # fmt: skip
def test_names(name, part):
    assert part_of(name) == part


def test_every_cycle_and_byte_once(build):
    for task in build.compiled.entries:
        made = simulated(build, task)
        found = parts(build, made)
        assert [part.name for part in found] == [
            "embed", "layers.0.attention", "layers.0.mlp", "layers.1.attention", "layers.1.mlp", "head",
        ]  # fmt: skip
        assert sum(part.cycles for part in found) == made.cycles
        assert all(part.busy for part in found)
        # What comes behind the last step is the head's: the output is stored.
        names, shares = made.instructions.name, made.shares()
        head = [one for one in shares[:-1] if part_of(names[one.instruction]) == "head"]
        assert found[-1].cycles == sum(one.cycles for one in head) + shares[-1].cycles and shares[-1].cycles > 20
        assert sum(part.macs for part in found) == macs(build.model, task)
        assert sum(sum(part.bytes.values()) for part in found) == sum(made.transfers.bytes)
        kinds = {part.name: set(part.bytes) for part in found}
        assert kinds["embed"] == {"embedding", "image", "tables"} and kinds["head"] >= {"tables", "head", "output"}
        assert kinds["layers.1.mlp"] == {"gate", "experts", "tables"} and kinds["layers.0.mlp"] == {"MLP", "tables"}
        assert kinds["layers.0.attention"] == {"q, k, v", "projection", "tables"}


def test_bytes_of_a_simulation_are_those_that_came(build):
    """One transfer left out: its instruction fetched nothing. By the estimate it fetches what its program says."""
    made = simulated(build, "digit")
    program = build.compiled.instructions["digit"]
    whole = fetched_bytes(program, made)
    at = made.transfers.instruction[-1]
    columns = {name: values[:-1] for name, values in made.transfers.model_dump().items()}
    less = fetched_bytes(program, made.model_copy(update={"transfers": made.transfers.model_copy(update=columns)}))
    assert whole[at] and not less[at]
    assert fetched_bytes(program, made.model_copy(update={"source": "estimate"})) == whole


def test_random_networks_have_no_other_parts(tmp_path):
    """Names of instructions of all kinds of networks fall into parts that the network has."""
    for seed in (5, 101, 104, 107, 111):
        build = build_of(random_description(seed), tmp_path, 4, 4, 4)
        for task in build.compiled.entries:
            found = parts(build, simulated(build, task))
            assert sum(part.cycles for part in found) == simulated(build, task).cycles
            kinds = {kind_of(instr) for instr in build.compiled.instructions[task] if instr.op == Op.MATMUL}
            assert {"q, k, v", "projection", "embedding"} <= kinds
