"""Programs: sharing between tasks, encoding, probes, determinism. What they compute is tested in tests/sim."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, compile_model
from hwgen.estimate.cycles import estimate
from hwgen.machine import isa
from hwgen.machine.isa import Dest, Op
from hwgen.machine.tables import ACTIVATION_ENTRIES, ACTIVATIONS
from hwgen.network.macs import macs, macs_by_part
from tests.random_model import random_description, random_images

MOE = {"kind": "moe", "experts": 4, "hidden": 16, "top_k": 2, "gate": "softmax_topk"}
TASKS = [
    {"name": "digit", "head": "class_token", "outputs": 10, "norm": True},
    {"name": "area", "head": "mean", "outputs": 3, "norm": False},
    {"name": "map", "head": "every_token", "outputs": 11, "norm": True},
    {"name": "raw", "head": "none", "norm": False},
    {"name": "feature", "head": "none", "norm": True},
]
FIXED = {
    "image": {"height": 4, "width": 6, "channels": 1}, "patch": {"height": 2, "width": 2}, "class_token": True,
    "dim": 16, "heads": 2, "head_dim": 8, "layers": [{"mlp": {"kind": "dense", "hidden": 24}}, {"mlp": MOE}],
    "tasks": TASKS,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    desc = random_description(0, **FIXED)
    p = auto_params([desc], 4, 8, 8)
    return desc, p, compile_model(desc, p)


def test_binary_is_the_instructions(model):
    _, _, compiled = model
    at = min(compiled.entries.values())  # behind the tables
    for task, instructions in compiled.instructions.items():
        assert compiled.entries[task] == at
        for instr in instructions:
            fields = isa.decode(compiled.program[at : at + isa.BYTES])
            assert {name: value for name, value in fields.items() if value and name != "op"} == {
                name: value for name, value in instr.fields.items() if value
            }
            assert fields["op"] == instr.op
            at += isa.BYTES
        assert [i.op for i in instructions].count(Op.END) == 1
        assert instructions[-1].op == Op.END
    assert at == len(compiled.program)


def test_order_of_opcodes():
    """Seven tokens in tiles of two: two row blocks, a stage's next block before the last one's results are read."""
    desc = random_description(0, **FIXED)
    compiled = compile_model(desc, auto_params([desc], 2, 8, 8))
    text = " ".join(
        f"{instr.op.name}{instr.fields['row_begin'] if instr.op in (Op.NORM, Op.MATMUL, Op.ROUTE) else ''}"
        for instr in compiled.instructions["area"]
    )
    q_to_proj = "MATMUL0 MATMUL0 ATTENTION ATTENTION MATMUL0 MATMUL4 "
    experts = "GATHER " + "GATHER MATMUL0 MATMUL0 " * 3 + "MATMUL0 MATMUL0 "
    assert text == (
        "LOAD IMAGE MATMUL1 LOAD NORM0 LOAD NORM4 MATMUL0 MATMUL4 LOAD " + q_to_proj
        + "NORM0 LOAD NORM4 MATMUL0 MATMUL0 MATMUL4 NORM0 LOAD NORM4 MATMUL0 " + q_to_proj
        + "NORM0 LOAD MATMUL0 NORM4 ROUTE0 MATMUL4 ROUTE4 " + experts + "NORM0 MEAN MATMUL0 STORE END"
    )  # fmt: skip


LAYERS = [
    {"mlp": {"kind": "dense", "hidden": 24, "activation": "gelu"}},
    {"mlp": MOE | {"activation": "silu"}},
    {"mlp": {"kind": "dense", "hidden": 24, "activation": "silu"}},
    {"mlp": {"kind": "dense", "hidden": 24, "activation": "gelu"}},
]


def test_a_table_is_loaded_where_the_activation_changes():
    """Each activation finds its own; the table of the first and the last layer lies in DRAM once."""
    desc = random_description(0, **FIXED | {"layers": LAYERS})
    compiled = compile_model(desc, auto_params([desc], 4, 8, 8))
    for instructions in compiled.instructions.values():
        offsets, table = [], b""
        for instr in instructions:
            if instr.op == Op.LOAD and instr.fields["dest"] == Dest.ACTIVATION:
                assert instr.fields["bytes"] == ACTIVATION_ENTRIES and not instr.fields.get("d_base")
                offsets.append(instr.fields["offset"])
                table = compiled.program[offsets[-1] : offsets[-1] + ACTIVATION_ENTRIES]
            elif instr.fields.get("activate"):
                kind = LAYERS[int(instr.name.split(".")[1])]["mlp"]["activation"]
                assert list(table) == list(ACTIVATIONS[kind]), instr.name
        assert len(offsets) == 3 and offsets[0] == offsets[2] != offsets[1]


def test_additions_shift_the_stream_by_what_it_loses():
    bits = [13, 11, 8, 8, 8, 8, 7, 6, 6]
    desc = random_description(0, **FIXED | {"layers": LAYERS, "residual_fraction_bits": bits})
    compiled = compile_model(desc, auto_params([desc], 4, 8, 8))
    shifts = {}
    for instr in compiled.instructions["map"]:
        if instr.op == Op.MATMUL and instr.fields["dest"] == Dest.X_ADD:
            shifts.setdefault(instr.name, set()).add(instr.fields.get("x_shift", 0))
    experts = {f"layers.1.moe.experts.{e} into mlp": {0} for e in range(4)}
    assert shifts == experts | {
        "embed": {0}, "layers.0.attn": {2}, "layers.0.mlp": {3}, "layers.1.attn": {0}, "layers.2.attn": {0},
        "layers.2.mlp": {1}, "layers.3.attn": {1}, "layers.3.mlp": {0},
    }  # fmt: skip


def test_tasks_share_weights(model):
    """Blocks are aligned, do not overlap, and two tasks differ in their gates, final norms and heads only."""
    _, _, compiled = model
    blocks = {
        task: {
            (instr.op, instr.fields["offset"]): (instr.fields["bytes"], instr.name)
            for instr in instructions
            if instr.op in (Op.LOAD, Op.MATMUL) and instr.fields["bytes"]
        }
        for task, instructions in compiled.instructions.items()
    }
    own = {task: {blocks[task][place][1] for place in blocks[task].keys() - blocks["raw"].keys()} for task in blocks}
    assert own["digit"] == {"layers.1.logits", "parameters of tasks.digit.norm", "digit.output"}
    assert own["area"] == {"layers.1.logits", "parameters of tasks.area.rescale", "area.output"}
    assert own["feature"] == {"layers.1.logits", "parameters of tasks.feature.norm"}
    tables = min(compiled.entries.values())
    for reader, region in ((Op.LOAD, tables), (Op.MATMUL, len(compiled.weights))):
        spans = sorted({
            (offset, size) for task in blocks for (op, offset), (size, _) in blocks[task].items() if op == reader
        })  # fmt: skip
        for (offset, size), (following, _) in pairwise([*spans, (region, 0)]):
            assert offset % 64 == 0
            assert offset + size <= following < offset + size + 64
        assert region % 64 == 0


def test_only_needed_rows(model):
    desc, _, compiled = model
    n = desc.model.tokens
    rows = {}
    for task, instructions in compiled.instructions.items():
        store = instructions[-2]
        assert store.op == Op.STORE
        assert store.fields["bytes"] == compiled.output_bytes[task]
        rows[task] = store.fields["row_begin"], store.fields["row_end"]
    assert rows == {"digit": (0, 1), "area": (0, 1), "map": (0, n - 1), "raw": (0, n), "feature": (0, n)}
    assert compiled.output_bytes["digit"] == 2 * 16  # 10 outputs in words of 8
    assert compiled.output_shapes["map"] == (6, 11)


def test_unpack_output(model):
    _, _, compiled = model
    raw = np.arange(6 * 16, dtype="<i2") - 20
    output = compiled.unpack_output("map", raw.tobytes() + b"more of the region")
    assert output.dtype == np.int16
    assert np.array_equal(output, raw.reshape(1, 6, 16)[:, :, :11])


def test_probes_cover_the_documented_tensors(model):
    """Every tensor of the golden model but those that never leave a unit."""
    desc, _, compiled = model
    golden = Golden(desc)
    for task in compiled.entries:
        names = set(golden.run(random_images(desc, 1, 0), task, keep=True).tensors)
        inside = ("prob", "experts", "weights")
        names = {name for name in names if name.rsplit(".", 1)[-1] not in inside}
        assert {probe.tensor for probe in compiled.probes[task]} == names
        last = [probe.instruction for probe in compiled.probes[task]]
        assert last == sorted(last)


@pytest.mark.parametrize(("t", "first"), [(4, 4), (2, 8), (16, 0)])
def test_probes_of_scores_are_the_last_two_query_tiles(t, first):
    """Of 11 tokens, all keys, each head once: what the score buffer holds when ATTENTION retires."""
    desc = random_description(
        3, class_token=True, heads=3, layers=[{"mlp": {"kind": "dense", "hidden": 5}}],
        image={"height": 4, "width": 10, "channels": 1}, patch={"height": 2, "width": 2},
    )  # fmt: skip
    compiled = compile_model(desc, auto_params([desc], t, 4, 2))
    instructions = compiled.instructions[desc.model.tasks[0].name]
    for head in range(3):
        probes = [
            p for p in compiled.probes[desc.model.tasks[0].name] if (p.tensor, p.head) == ("layers.0.score", head)
        ]
        assert {instructions[p.instruction].name for p in probes} <= {f"layers.0.context head {head}"}
        # The next head's scores may come before this one's instruction retires.
        rows = [row for p in probes for row in range(p.row_begin, p.row_end)]
        assert set(rows) <= set(range(first, 11))
        assert rows == list(range(first, 11)) or head < 2
        assert {(p.column, len(set(p.channels))) for p in probes} <= {(0, 11)}


def test_same_input_same_bytes():
    first, second = (
        compile_model(desc, auto_params([desc], 8, 4, 16)) for desc in (random_description(5), random_description(5))
    )
    for name in (f.name for f in dataclasses.fields(first)):
        assert getattr(first, name) == getattr(second, name)


def test_value_that_does_not_fit_the_instruction():
    """Narrow heads in wide words: the output projection takes more steps than 16 bits count."""
    desc = random_description(0, **FIXED | {"heads": 1030, "head_dim": 1, "dim": 8})
    with pytest.raises(HwgenError) as error:
        compile_model(desc, auto_params([desc], 8, 64, 1))
    assert error.value.key == "layers.0.attn"
    assert error.value.found == f"MATMUL.k_steps must fit in 16 unsigned bits, not {1029 * 64 + 1}"


def test_macs_by_hand():
    desc = random_description(0, **FIXED)
    n, d, a = 7, 16, 16
    attention = 4 * n * d * a + 2 * n * n * a
    dense, moe = 2 * n * d * 24, n * d * 4 + 2 * 2 * n * d * 16
    body = 6 * 4 * d + 2 * attention + dense + moe
    assert macs(desc, "raw") == macs(desc, "feature") == body
    assert macs_by_part(desc, "digit")["head"] == d * 10 and not macs_by_part(desc, "raw")["head"]
    assert macs(desc, "digit") == body + d * 10
    assert macs(desc, "area") == body + d * 3
    assert macs(desc, "map") == body + 6 * d * 11
    pooled = {"name": "pool", "head": "map", "norm": True, "mlp": {"kind": "dense", "hidden": 9}, "outputs": 4}
    desc = random_description(0, **FIXED | {"tasks": [pooled]})
    assert macs(desc, "pool") == body + 2 * 6 * d * a + 2 * 6 * a + a * d + 2 * d * 9 + 4 * d


@pytest.mark.parametrize("shape", [(2, 2, 1), (4, 8, 8), (8, 4, 16)])
def test_array_steps(shape):
    """Never fewer than the useful products need; as many where nothing is padded."""
    desc = random_description(0, **FIXED)
    p = auto_params([desc], *shape)
    compiled = compile_model(desc, p)
    for task in compiled.instructions:
        assert estimate(compiled, task, p, latency=0).array_busy * p.macs >= macs(desc, task)
    exact = FIXED | {"class_token": False, "image": {"height": 4, "width": 16, "channels": 1},
                     "patch": {"height": 2, "width": 4}, "tasks": [TASKS[3]],
                     "layers": [{"mlp": {"kind": "dense", "hidden": 24}}]}  # fmt: skip
    desc = random_description(0, **exact)
    p = auto_params([desc], 2, 4, 4)
    assert estimate(compile_model(desc, p), "raw", p, latency=0).array_busy * p.macs == macs(desc, "raw")


def test_too_small_is_refused(model):
    desc, p, _ = model
    with pytest.raises(HwgenError, match="x_depth"):
        compile_model(desc, dataclasses.replace(p, x_depth=3))
