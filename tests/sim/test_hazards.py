"""No compiled program lets units get in each other's way, and a single bit too many is found."""


import numpy as np
import pytest

from hwgen.common.strict_yaml import read_yaml
from hwgen.compiler import auto_params, compile_model
from hwgen.machine.isa import BYTES, NO_WAIT, ORDER, UNITS, Dest, Op, Source, encode
from hwgen.machine.params import HwParams
from hwgen.network import description
from hwgen.network.description import Description, parse_model
from hwgen.quantize.synthetic import RandomWeights
from sim.hazards import find_hazards
from tests.paths import EXAMPLES
from tests.random_model import random_description
from tests.sim.test_isa_model import HEADS, SHAPES


def check(desc, p, batch=1):
    compiled = compile_model(desc, p, batch)
    for task, entry in compiled.entries.items():
        found = [str(hazard) for hazard in find_hazards(p, compiled.program, entry)]
        assert found == [], task


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_random_models(seed, shape, batch):
    desc = random_description(seed)
    check(desc, auto_params([desc], *shape, batch=batch), batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed, shape", [(104 + number, SHAPES[number % len(SHAPES)]) for number in range(16)])
def test_what_few_networks_have(seed, shape, batch):
    desc = random_description(seed)
    check(desc, auto_params([desc], *shape, batch=batch), batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hidden", [1, 30])
def test_gated(hidden, shape, batch):
    gated = {"mlp": {"kind": "dense", "hidden": hidden, "activation": "silu", "gated": True}}
    desc = random_description(46, layers=[gated, gated], dim=9)
    check(desc, auto_params([desc], *shape, batch=batch), batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("class_token", [True, False])
def test_every_head(class_token, batch):
    desc = random_description(40, class_token=class_token, tasks=HEADS[not class_token :])
    check(desc, auto_params([desc], 4, 8, 8, batch=batch), batch)


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 4, 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_means_in_front_of_a_norm(batch, shape):
    """They are written over the residual stream, read by the norm, and its results by the head over them."""
    heads = [{"name": "a", "head": "mean_norm", "outputs": 50, "norm": True},
             {"name": "b", "head": "distillation_token", "outputs": 5, "norm": True}]  # fmt: skip
    desc = random_description(44, dim=20, class_token=True, distillation_token=True, tasks=heads)
    check(desc, auto_params([desc], *shape, batch=batch), batch)


@pytest.mark.parametrize("shape", [(2, 4, 1), (64, 2, 1), (4, 2, 32), (4, 8, 8)])
@pytest.mark.parametrize("heads, head_dim", [(5, 1), (3, 3), (1, 17)])
def test_normalised_heads(heads, head_dim, shape):
    """Products that reach into the next head, which the LayerNorm unit writes meanwhile."""
    desc = random_description(45, qk_norm=True, heads=heads, head_dim=head_dim, dim=6)
    check(desc, auto_params([desc], *shape, batch=2), 2)


@pytest.mark.parametrize("weight_depth", [512, 4096])
@pytest.mark.parametrize("model", ["edge_moe", "deit_tiny", "mnist_m3vit"])
def test_examples(model, weight_depth):
    """With few and with many matrices kept in the ring."""
    path = EXAMPLES / model
    if (path / "model").is_dir():
        desc = description.load(path / "model")
    else:
        structure = parse_model(read_yaml(path / "model.yaml"), model)
        desc = Description(structure, RandomWeights(np.random.default_rng(0), structure).tensors)
    p = auto_params([desc], 8, 16, 8)
    check(desc, HwParams(**p.as_dict() | {"weight_depth": weight_depth}))


def relaxed(instructions, settle):
    """Number of an instruction, and its fields with one thing less waited for."""
    for number, instr in enumerate(instructions[:-1]):
        fields = instr.fields
        for name in ORDER[1:]:
            if not fields.get(name) and instr.op not in UNITS[name.removeprefix("beside_")]:
                yield number, {name: 1}
        if fields["engine_lag"] < 4:
            yield number, {"engine_lag": fields["engine_lag"] + 1}
        if fields.get("slack", settle) < settle:
            yield number, {"slack": fields["slack"] + 1}


@pytest.mark.parametrize("seed, shape", [(1, (4, 8, 8)), (2, (2, 4, 1)), (7, (4, 2, 32))])
def test_every_wait_is_needed(seed, shape):
    desc = random_description(seed)
    p = auto_params([desc], *shape)
    compiled = compile_model(desc, p)
    task, entry = next(iter(compiled.entries.items()))
    changes = list(relaxed(compiled.instructions[task], 64 + p.t))
    assert {name for _, change in changes for name in change} >= {"engine_lag", "slack", "beside_norm", "beside_data"}
    for number, change in changes:
        instr = compiled.instructions[task][number]
        program, at = bytearray(compiled.program), entry + number * BYTES
        program[at : at + BYTES] = encode(instr.op, **instr.fields | change)
        hazard = next(find_hazards(p, bytes(program), entry), None)
        assert hazard is not None, (number, instr.name, change)
        assert hazard.second >= number


P = HwParams(t=4, c=8, k=8)
BESIDE = {"engine_lag": 7} | dict.fromkeys(ORDER[1:], 1)
#: Four row tiles, 16 steps; a tile's results leave every second step.
FC = {"bytes": 1, "row_end": 16, "k_steps": 2, "tiles": 2, "a_stride": 2, "d_stride": 2}


def hazards(*instructions, settle=50):
    return [str(hazard) for hazard in find_hazards(P, b"".join(instructions), settle=settle)]


def matmul(**fields):
    return encode(Op.MATMUL, **FC | BESIDE | {"slack": NO_WAIT} | fields)


def test_results_read_too_early():
    """The last result leaves with the last step; its words are read from step 1 + 3 · 2 on."""
    first = matmul(source=Source.Y, dest=Dest.H)
    assert hazards(first, matmul(source=Source.H, dest=Dest.X, slack=7)) == []
    assert hazards(first, matmul(source=Source.H, dest=Dest.X, slack=8)) == ["1 beside 0: RAW on H, 49 cycles of 50"]
    other = matmul(source=Source.Y, dest=Dest.K)
    assert hazards(first, other, matmul(source=Source.H, dest=Dest.X, slack=23)) == []
    assert hazards(first, other, matmul(source=Source.H, dest=Dest.X, slack=24)) == [
        "2 beside 0: RAW on H, 49 cycles of 50"
    ]


def test_gated_activations():
    """What gates a tile is read when it ends, as many steps behind its own end as there are; operands of H come behind
    all."""
    up, gated = matmul(source=Source.Y, dest=Dest.H), {"source": Source.Y, "dest": Dest.H, "activate": 1, "gated": 1}
    assert hazards(up, matmul(**gated, slack=16)) == []
    assert hazards(up, matmul(**gated, slack=17)) == ["1 beside 0: RAW on H, 49 cycles of 50"]
    elsewhere = {"source": Source.H, "dest": Dest.X, "a_base": 100}
    assert hazards(matmul(**gated), matmul(**elsewhere, slack=0)) == []
    found = ["1 beside 0: port on row reads of H, 49 cycles of 50"]
    assert hazards(matmul(**gated), matmul(**elsewhere, slack=1)) == found
    assert hazards(matmul(**gated), matmul(**gated | {"d_base": 100})) == []


def test_queue_of_one_row():
    """Whatever the queue's length: between two matmuls of another expert there may be no step."""
    route = encode(Op.ROUTE, row_end=16, k_steps=1, tiles=2)
    queue = {"use_queue": 1, "row_end": 0, "beside_router": 0}
    first, second = matmul(source=Source.Y, dest=Dest.H), matmul(source=Source.Y, dest=Dest.K, expert=1, **queue)
    assert hazards(route, first, second, matmul(source=Source.H, dest=Dest.X, slack=8)) == [
        "3 beside 1: RAW on H, 49 cycles of 50"
    ]
    first = matmul(source=Source.Y, dest=Dest.H, **queue)
    assert hazards(route, first, matmul(source=Source.H, dest=Dest.X, slack=1, **queue)) == []
    assert "2 beside 1: RAW on H, 49 cycles of 50" in hazards(
        route, first, matmul(source=Source.H, dest=Dest.X, slack=2, **queue)
    )


def test_sums_onto_sums():
    add = {"source": Source.H, "dest": Dest.X_ADD, "row_end": 4, "tiles": 1}
    assert hazards(matmul(**add), matmul(**add)) == ["1 beside 0: RAW on X, sums 2 cycles apart"]
    assert hazards(matmul(**add), matmul(**add | {"slack": 47})) == []


def test_units():
    norm = encode(Op.NORM, row_end=8, tiles=2, a_stride=2, d_stride=2, **BESIDE)
    load = encode(Op.LOAD, dest=Dest.X, bytes=16 * 2, d_base=15, **BESIDE)
    table = encode(Op.LOAD, dest=Dest.NORM, bytes=16 * 4, **BESIDE)
    add = matmul(source=Source.H, dest=Dest.X_ADD)
    assert hazards(norm, load) == ["1 beside 0: WAR on X, 1 words"]
    assert hazards(load, norm) == ["1 beside 0: RAW on X, 1 words"]
    assert hazards(table, norm) == ["1 beside 0: RAW on TABLE, 4 words"]
    assert hazards(add, norm) == ["1 beside 0: RAW on X, 16 words"]
    assert hazards(add, load) == ["1 beside 0: WAW on X, 2 words"]
    # What a unit's own next instruction, or a wait in between, has made sure of.
    assert hazards(load, table, norm) == ["2 beside 1: RAW on TABLE, 4 words"]
    assert hazards(norm, encode(Op.GATHER, use_queue=1, tiles=1, engine_lag=7), load) == []
    other = matmul(source=Source.H, dest=Dest.K)
    assert hazards(add, *[other] * 4, norm) == []
    assert hazards(add, *[other] * 3, norm) == ["4 beside 0: RAW on X, 16 words"]


def test_ports():
    norm = encode(Op.NORM, row_end=8, tiles=2, a_stride=2, d_stride=2, d_base=50, **BESIDE)
    mean = encode(Op.MEAN, row_end=4, tiles=1, d_base=90, **BESIDE)
    attention = encode(Op.ATTENTION, row_end=4, k_steps=1, tiles=1, key_tiles=1, pv_steps=1, slack=NO_WAIT, **BESIDE)
    store = encode(Op.STORE, source=Source.X, row_begin=200, row_end=201, tiles=1, **BESIDE)
    image = encode(Op.IMAGE, bytes=4, a_stride=1, k_steps=4, tiles=1, **BESIDE)
    port = "1 beside 0: port on row"
    assert hazards(attention, norm) == [f"{port} writes of Y, ATTENTION and NORM"]
    assert hazards(norm, image) == [f"{port} writes of Y, NORM and IMAGE"]
    assert hazards(mean, matmul(source=Source.Y, dest=Dest.K)) == [f"{port} reads of Y, MEAN and MATMUL"]
    assert hazards(mean, matmul(source=Source.H, dest=Dest.K)) == []
    assert hazards(norm, matmul(source=Source.Y, dest=Dest.K)) == []
    assert hazards(norm, store) == ["1 beside 0: port on reads of X by NORM, NORM and STORE"]
