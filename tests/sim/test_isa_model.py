"""Compiled programs on the instruction-level model give the golden model's outputs and intermediate tensors."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from golden.model import Golden
from hwgen.compiler import auto_params, compile_model
from hwgen.machine.isa import Dest, Op, Source, encode
from hwgen.machine.params import HwParams
from hwgen.network import description
from hwgen.quantize.synthetic import synthetic
from sim.compare import compare_arrays, first_difference
from sim.isa_model import IsaError, Machine
from sim.simulate import batch_tensors
from tests.paths import EXAMPLES, MNIST
from tests.random_model import random_description, random_images

#: T, C, K: square, T != C, one lane, lanes wider than columns, tiny, large.
SHAPES = [(4, 8, 8), (8, 4, 2), (2, 4, 1), (4, 8, 16), (4, 2, 32), (16, 16, 4), (2, 64, 8), (64, 2, 1)]


def check(desc, shape, images, batch=1, **sizes):
    """Every task and all images, `batch` at once, with fresh garbage in the buffers."""
    golden = Golden(desc)
    p = replace(auto_params([desc], *shape, batch=batch), **sizes)
    compiled = compile_model(desc, p, batch)
    for task in compiled.entries:
        expected = golden.run(images, task, keep=True)
        probes = defaultdict(list)
        for probe in compiled.probes[task]:
            probes[probe.instruction].append(probe)
        for first in range(0, len(images), batch):
            together = range(first, first + batch)
            tensors = batch_tensors(expected.tensors, together)
            machine = Machine(p, compiled.program, compiled.weights, compiled.pack_input(images[together]),
                              compiled.region_bytes[task], seed=first)

            def compare(number, machine=machine, tensors=tensors, probes=probes):
                if number in probes:
                    assert first_difference(probes[number], {number: machine.dump()}, tensors) is None

            found = compiled.unpack_output(task, machine.run(compiled.entries[task], compare))
            output = np.concatenate(expected.output[together])
            assert compare_arrays(None, f"{task}.output", output, np.concatenate(found)) is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(16))
def test_random_models(seed, shape):
    desc = random_description(seed)
    check(desc, shape, random_images(desc, 2, seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(16, 22))
def test_batches(seed, shape):
    """Three images at once: rows of images share row tiles, words of keys and of queues."""
    desc = random_description(seed)
    check(desc, shape, random_images(desc, 3, seed), batch=3)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed, shape", [(104 + number, SHAPES[number % len(SHAPES)]) for number in range(24)])
def test_what_few_networks_have(seed, shape, batch):
    desc = random_description(seed)
    check(desc, shape, random_images(desc, batch, seed), batch)


@pytest.mark.parametrize("shape", [(2, 4, 1), (64, 2, 1), (4, 2, 32), (4, 8, 8)])
@pytest.mark.parametrize("heads, head_dim", [(5, 1), (3, 3), (1, 17)])
def test_normalised_heads(heads, head_dim, shape):
    """Narrower than the parameters of a weight stream, where products reach into the next head; wider than a word."""
    desc = random_description(45, qk_norm=True, heads=heads, head_dim=head_dim, dim=6)
    check(desc, shape, random_images(desc, 2, 0), batch=2)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hidden", [1, 30])
def test_gated(hidden, shape, batch):
    """One layer behind another, so that what gates is overwritten and written again; also a single tile of them."""
    gated = {"mlp": {"kind": "dense", "hidden": hidden, "activation": "silu", "gated": True}}
    desc = random_description(46, layers=[gated, {"mlp": gated["mlp"] | {"activation": "gelu"}}], dim=9)
    tensors = Golden(desc).run(random_images(desc, 2, 0), desc.model.tasks[0].name, keep=True).tensors
    assert hidden == 1 or all(np.ptp(tensors[f"layers.0.{part}"]) > 200 for part in ("up", "hidden"))
    check(desc, shape, random_images(desc, batch, 0), batch)
    check(desc, shape, random_images(desc, batch, 1), batch, weight_depth=16 * 64)


@pytest.mark.parametrize("gain", [0.05, 6.0])
def test_saturating_and_vanishing_models(gain):
    for seed in range(4):
        desc = random_description(100 + seed, gain=gain)
        check(desc, (4, 8, 8), random_images(desc, 1, seed))


@pytest.mark.parametrize("batch", [1, 2])
def test_example(batch):
    desc = description.load(MNIST / "model")
    check(desc, (4, 8, 8), random_images(desc, 2, 0), batch)


@pytest.mark.slow
def test_full_size():
    desc = synthetic(EXAMPLES / "edge_moe" / "model.yaml", 1)
    check(desc, (8, 16, 8), random_images(desc, 1, 0))


MOE = {"kind": "moe", "experts": 6, "hidden": 10, "top_k": 2, "gate": "softmax_topk"}
HEADS = [
    {"name": "a", "head": "class_token", "outputs": 17, "norm": True},
    {"name": "b", "head": "mean", "outputs": 3, "norm": False},
    {"name": "c", "head": "every_token", "outputs": 70, "norm": False},
    {"name": "d", "head": "none", "norm": False},
    {"name": "e", "head": "none", "norm": True},
]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 4, 16)])
def test_every_head(shape, class_token, batch):
    """Outputs wider than dim (X is reused), narrower than a word, all kinds of head."""
    desc = random_description(40, class_token=class_token, tasks=HEADS[not class_token :])
    check(desc, shape, random_images(desc, 2, 0), batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(2, 8, 8), (8, 4, 16)])
def test_distillation_token(shape, batch):
    """Two tokens in front of the patches, as many as a row tile and fewer."""
    tasks = [task | {"head": "distillation_token"} for task in HEADS[:2]] + HEADS
    tasks = [task | {"name": f"t{number}"} for number, task in enumerate(tasks)]
    desc = random_description(43, class_token=True, distillation_token=True, tasks=tasks)
    check(desc, shape, random_images(desc, batch, 0), batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("outputs", [3, 70])
@pytest.mark.parametrize("shape", [(2, 8, 8), (8, 4, 16), (2, 4, 1)])
def test_norm_of_the_mean(shape, outputs, batch):
    """The means take the place of the residual stream, and narrower or wider outputs theirs."""
    task = {"name": "a", "head": "mean_norm", "outputs": outputs, "norm": True}
    desc = random_description(44, dim=20, tasks=[task])
    check(desc, shape, random_images(desc, batch, 0), batch)


@pytest.mark.parametrize("outputs", [12, 70])
@pytest.mark.parametrize("mlp", [{"kind": "dense", "hidden": 20}, MOE])
def test_outputs_over_the_residual_stream(mlp, outputs):
    """Narrow ones may take the place of rows while later ones are still added to, wide ones may not."""
    desc = random_description(
        42, class_token=False, dim=20, layers=[{"mlp": mlp}], tasks=[HEADS[2] | {"outputs": outputs}],
        image={"height": 8, "width": 10, "channels": 1}, patch={"height": 2, "width": 2},
    )  # fmt: skip
    check(desc, (2, 8, 8), random_images(desc, 1, 0), weight_depth=256)


def routed(mlp, change):
    desc = random_description(
        41, layers=[{"mlp": mlp}, {"mlp": mlp}], class_token=True, tasks=HEADS[:1], dim=20,
        image={"height": 6, "width": 10, "channels": 1}, patch={"height": 2, "width": 2},
    )  # fmt: skip
    for name in ("layers.0.moe.gate.a", "layers.1.moe.gate.a"):
        change(desc.tensors, name)
    return desc


@pytest.mark.parametrize("gate", ["softmax_topk", "topk_softmax"])
@pytest.mark.parametrize("top_k", [1, 3])
def test_equal_logits(gate, top_k):
    """All gate weights zero: the first experts take every token, the others are skipped."""
    def zero(tensors, name):
        for part in ("weight", "bias"):
            tensors[f"{name}.{part}"][:] = 0

    desc = routed(MOE | {"top_k": top_k, "gate": gate}, zero)
    images = random_images(desc, 1, 0)
    weights = Golden(desc).run(images, "a", keep=True).tensors["layers.1.weights"]
    assert len(np.unique(weights)) == 1
    check(desc, (4, 8, 8), images)


@pytest.mark.parametrize("gate", ["softmax_topk", "topk_softmax"])
@pytest.mark.parametrize("winner", [0, 5])
def test_one_expert_takes_all(gate, winner):
    def win(tensors, name):
        tensors[f"{name}.bias"][:] = np.where(np.arange(6) == winner, 2**31 - 1, -(2**31))

    desc = routed(MOE | {"gate": gate}, win)
    images = random_images(desc, 1, 0)
    tensors = Golden(desc).run(images, "a", keep=True).tensors
    assert len(tensors[f"layers.0.expert.{winner}.tokens"][0]) == desc.model.tokens
    check(desc, (8, 4, 2), images)


def test_one_machine_runs_all_tasks():
    """One accelerator sized for two models runs both, in turn, on buffers the other has used."""
    descs = [random_description(7), random_description(8)]
    p = auto_params(descs, 4, 8, 8)
    machine = Machine(p, b"", b"")
    for desc in descs + descs[:1]:
        compiled, images = compile_model(desc, p), random_images(desc, 1, 3)
        for task, entry in compiled.entries.items():
            machine.program, machine.weights = compiled.program, np.frombuffer(compiled.weights, np.uint8)
            machine.image = images[0].reshape(-1)
            machine.output = np.zeros(compiled.region_bytes[task], np.uint8)
            found = compiled.unpack_output(task, machine.run(entry))
            assert np.array_equal(found, Golden(desc).run(images, task).output)


#: Two words of weights stay in the ring.
KEEP = encode(Op.MATMUL, dest=Dest.H, bytes=128, keep=1, row_end=1, k_steps=1, tiles=1)


def run(*instructions):
    p = HwParams(t=4, c=8, k=8, norm_depth=4, weight_depth=8)
    Machine(p, b"".join(instructions), bytes(1024)).run()


@pytest.mark.parametrize(
    "kind, message, instructions",
    [
        ("opcode", "0 at byte 0", [bytes(64)]),
        ("opcode", "99 at byte 64", [encode(Op.LOAD, dest=Dest.X), bytes([99]) + bytes(63)]),
        ("range", "instruction at 64 of 64", [encode(Op.LOAD, dest=Dest.X)]),
        ("field", "END at byte 0 does not read the bits 0x50000000000000000$", [(1 | 5 << 64).to_bytes(64, "little")]),
        ("field", "NORM at byte 0 does not read the bits 0x1000000$", [encode(Op.NORM, rms=1, row_end=1, tiles=1)]),
        ("range", "128 bytes at 0 of 64", [encode(Op.LOAD, dest=Dest.X, bytes=128)]),
        ("range", "1088 bytes at 0 of 1024", [encode(Op.MATMUL, bytes=1088, row_end=1, k_steps=16, tiles=1)]),
        ("range", "64 bytes at 32 of", [encode(Op.LOAD, dest=Dest.X, offset=32, bytes=64)]),
        ("range", "12 bytes at 0 of 0", [encode(Op.IMAGE, bytes=12, a_stride=2, k_steps=2, tiles=3)]),
        ("range", "word 60000 of", [encode(Op.MEAN, a_base=60000, row_end=1, tiles=1)]),
        ("range", "16 bytes at 0 of 0", [encode(Op.STORE, source=Source.X, bytes=16, row_end=1, tiles=1)]),
        ("range", "expert 200 of", [encode(Op.GATHER, expert=200, use_queue=1)]),
        ("range", "200 experts", [encode(Op.ROUTE, tiles=200, k_steps=1, row_end=1)]),
        ("field", "dest 9, source 0", [encode(Op.MATMUL, dest=9, row_end=1, k_steps=1, tiles=1)]),
        ("field", "dest 0", [encode(Op.LOAD, dest=Dest.Y)]),
        ("field", "an activation's table of 512 bytes", [encode(Op.LOAD, dest=Dest.ACTIVATION, bytes=512)]),
        ("field", "an activation's table of 1024 bytes, from 1 on", [encode(Op.LOAD, dest=Dest.ACTIVATION, bytes=1024,
                                                                            d_base=1)]),
        ("range", "word 32 of 32", [encode(Op.LOAD, dest=Dest.NORM, d_base=31, bytes=32)]),
        ("field", "64 bytes of weights, 2 words", [encode(Op.MATMUL, bytes=64, row_end=1, k_steps=1, tiles=1)]),
        ("field", "128 bytes of weights, 1 tiles of 1 packed", [encode(Op.MATMUL, narrow=1, bytes=128, k_steps=1,
                                                                       tiles=1, row_end=1)]),
        ("fetched", "ring words 0 to 2 of 0", [encode(Op.MATMUL, row_end=1, k_steps=1, tiles=1)]),
        ("field", "ring words 1 to 2 of 2, keep 0", [KEEP, encode(Op.MATMUL, ring_offset=1, row_end=1, tiles=1)]),
        ("fetched", "ring words 1 to 3 of 2", [KEEP, encode(Op.MATMUL, ring_offset=1, keep=1, row_end=1, k_steps=1,
                                                            tiles=1)]),
        ("fetched", "weights at ring word 0 behind 2", [KEEP, KEEP]),
        ("fetched", "weights of a queue behind 2", [KEEP, encode(Op.MATMUL, use_queue=1, bytes=128, k_steps=1,
                                                                 tiles=1)]),
        ("field", "2 words of weights were never popped", [KEEP, encode(Op.END)]),
        ("range", "a tile of 9 words", [encode(Op.MATMUL, bytes=576, row_end=1, k_steps=8, tiles=1)]),
        ("field", "the destination overlaps", [encode(Op.MATMUL, source=Source.H, dest=Dest.H, bytes=128, row_end=1,
                                                      k_steps=1, tiles=1)]),
        ("field", "0 bytes of 1 rows", [encode(Op.STORE, source=Source.X, row_end=1, tiles=1)]),
    ],
)
def test_errors(kind, message, instructions):
    with pytest.raises(IsaError, match=f"^{kind}: {message}") as error:
        run(*instructions)
    assert error.value.kind == kind
