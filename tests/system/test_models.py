"""Random models and the example, on many shapes: to the bit, whatever ran before and however slow memory is."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from hwgen.compiler import auto_params, buffer_needs
from hwgen.compiler.blocks import Blocks
from hwgen.compiler.sizing import fitted
from hwgen.config import load_project
from hwgen.estimate.cycles import estimate
from hwgen.machine.isa import Op
from hwgen.machine.tables import ACTIVATIONS
from sim.harness import Job, Probe, SimulationError, Timing
from tests.paths import MNIST
from tests.random_model import random_description, random_images
from tests.system.helpers import Work, assert_same, harness


@dataclass(frozen=True)
class Hardware:
    """An array, its buses, the seeds of the random models it is made for, and how many of their images at once.

    The first of them is there once more, with narrow weights and multipliers so large that much of it saturates, and
    on machines with all features the last one with gated MLPs and RMSNorms.
    """

    t: int
    c: int
    k: int
    weight_bus: int
    data_bus: int
    seeds: tuple[int, ...]
    batch: int = 1
    multiplier_bits: int = 27
    max_burst: int = 64
    weight_ports: int = 1
    features: bool = False

    def works(self, runs: int = 2, batch: int = 1) -> list[Work]:
        descs = [random_description(seed) for seed in self.seeds]
        if self.features:
            layers = [GATED, {"mlp": GATED["mlp"] | {"hidden": 3}}]
            descs.append(random_description(self.seeds[-1], layers=layers, rms_norm=True))
        descs.append(random_description(self.seeds[0], gain=60, narrow=1))
        buses = {"weight_bus": self.weight_bus, "data_bus": self.data_bus, "weight_ports": self.weight_ports}
        p = auto_params(descs, self.t, self.c, self.k, batch=self.batch, **buses)
        p = replace(p, multiplier_bits=self.multiplier_bits, max_burst=self.max_burst)
        return [Work(desc, p, random_images(desc, runs * batch, seed=desc.model.dim), batch) for desc in descs]


GATED = {"mlp": {"kind": "dense", "hidden": 30, "activation": "silu", "gated": True}}
#: T, C and K each the largest and the smallest, K > C, T > C, more than a ring word per beat and less; one, two and
#: four weight ports.
HARDWARE = [
    Hardware(2, 4, 1, 64, 512, (2, 7, 8), batch=3, weight_ports=2, features=True),
    Hardware(4, 4, 4, 512, 64, (4, 14, 20), features=True),
    Hardware(8, 4, 16, 128, 256, (1, 21, 44), batch=2, weight_ports=4, features=True),
    Hardware(4, 16, 2, 256, 128, (9, 13, 27), max_burst=16),
    Hardware(32, 4, 4, 64, 64, (5, 12, 28), batch=5),
    Hardware(16, 4, 2, 512, 512, (6, 24, 25), batch=2, multiplier_bits=18, weight_ports=2, features=True),
]
#: Two tokens in front of the patches, a token's head each, a mean in front of the norm; on the hardware of others.
POOLED = {
    "class_token": True, "distillation_token": True, "layers": [{"mlp": {"kind": "dense", "hidden": 20}}], "dim": 10,
    "tasks": [{"name": "pooled", "head": "mean_norm", "outputs": 9, "norm": True},
              {"name": "distilled", "head": "distillation_token", "outputs": 5, "norm": True}],
    "image": {"height": 4, "width": 6, "channels": 2}, "patch": {"height": 2, "width": 2}, "heads": 2, "head_dim": 6,
}  # fmt: skip
#: What few networks have, on the hardware of others.
UNUSUAL = {
    "registers": POOLED | {"distillation_token": False, "register_tokens": 5, "tasks": [
        {"name": "label", "head": "mean", "outputs": 9, "norm": True}]},
    "normalised q and k": POOLED | {"qk_norm": True, "head_dim": 5, "tasks": POOLED["tasks"][:1]},
    "attention pooling": POOLED | {"tasks": [
        {"name": "features", "head": "map", "norm": True, "mlp": {"kind": "dense", "hidden": 11, "activation": "silu"}},
        {"name": "label", "head": "map", "norm": False, "mlp": {"kind": "dense", "hidden": 7}, "outputs": 9}]},
    "norm before the blocks": POOLED | {"norm_pre": True},
    "gated MLPs": POOLED | {"layers": [GATED, GATED], "dim": 5},
    "norms behind": POOLED | {"post_norm": True, "residual_fraction_bits": [11, 9, 8],
                              "layers": [{"mlp": {"kind": "dense", "hidden": 20, "activation": "silu", "windows": 3}}]},
    "RMSNorm": POOLED | {"rms_norm": True, "norm_pre": True, "qk_norm": True, "tasks": [
        *POOLED["tasks"], {"name": "features", "head": "map", "norm": True, "mlp": {"kind": "dense", "hidden": 11}}]},
}  # fmt: skip
#: Of three models with one, two and three layers, up to eight experts, with and without a class token.
SMALL = HARDWARE[1]


def in_turns(works: list[Work], runs: int = 2) -> list[tuple[Work, str, int]]:
    """Run after run, in each the tasks of all models one after another."""
    return [(work, task, run) for run in range(runs) for work in works for task in work.tasks]


def test_models_have_everything():
    models = [random_description(seed).model for hardware in HARDWARE for seed in hardware.seeds]
    heads = {(task.head, task.norm) for model in models for task in model.tasks}
    assert heads == {(head, norm) for head in ("class_token", "mean", "every_token", "none") for norm in (False, True)}
    mlps = [layer.mlp for model in models for layer in model.layers]
    assert {getattr(mlp, "gate", "dense") for mlp in mlps} == {"dense", "softmax_topk", "topk_softmax"}
    assert {model.class_token for model in models} == {False, True}
    assert {len(model.layers) for model in models} == {1, 2, 3}
    assert {layer.mlp.activation for model in models for layer in model.layers} == set(ACTIVATIONS)
    assert {before - after for model in models for before, after in pairwise(model.stream_bits)} == {0, 1, 2, 3}
    saturated = HARDWARE[1].works(1)[-1]
    residual = saturated.tensors(saturated.tasks[0], 0)["layers.0.attn"]
    assert np.isin((-32768, 32767), residual).all()


@pytest.mark.parametrize("hardware", HARDWARE, ids=lambda h: f"{h.t}x{h.c}x{h.k}")
def test_packed_weights_of_every_kind(hardware):
    """On each array: of experts, an odd number of words, kept in the ring (if rows make more than one block)."""
    packed, shares = [], set()
    for work in hardware.works(1):
        matmuls = [i.fields for task in work.tasks for i in work.compiled.instructions[task] if i.op == Op.MATMUL]
        streamed = [f for f in matmuls if f["bytes"]]
        packed += [f for f in streamed if f["narrow"]]
        shares.add(np.mean([f["narrow"] for f in streamed]))
    assert any(f.get("use_queue") for f in packed)
    assert {f["k_steps"] % 2 for f in packed} == {0, 1}
    assert any(f["keep"] for f in packed) == (hardware.t < 16)
    assert 1 in shares and min(shares) < 1


@pytest.mark.parametrize("hardware", HARDWARE, ids=lambda h: f"{h.t}x{h.c}x{h.k}")
def test_random_models(hardware):
    """Also with memory that answers at once, and late with many stalls, at each weight port otherwise; `seed` is that
    of all initial contents too.

    Batches take turns with single images.
    """
    works = hardware.works()
    if hardware.batch > 1:
        works += hardware.works(batch=hardware.batch)
    machine = harness(works[0].p)
    for timing in (
        Timing(latency=hardware.t, stall_percent=0, seed=hardware.c, longest_burst=hardware.max_burst),
        Timing(latency=60, stall_percent=40, seed=hardware.k, longest_burst=hardware.max_burst, jitter=30,
               weight_latency=(45, 90, 10, 60)),
    ):
        assert_same(machine, in_turns(works), timing)


@pytest.mark.parametrize("hardware", [HARDWARE[0], SMALL], ids=lambda h: f"{h.t}x{h.c}x{h.k}")
def test_tokens_and_means(hardware):
    """Heads that no random model draws; also several images at once."""
    desc, p = random_description(1, **POOLED), hardware.works(1)[0].p
    images = random_images(desc, 2 * hardware.batch, seed=1)
    assert_same(harness(p), in_turns([Work(desc, p, images, hardware.batch), Work(desc, p, images[:2])]))


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_few_networks_have(kind):
    desc, p = random_description(1, **UNUSUAL[kind]), HARDWARE[0].works(1)[0].p
    images = random_images(desc, 3, seed=1)
    runs = in_turns([Work(desc, p, images, 3), Work(desc, p, images[:1])], 1)
    timing = Timing(latency=20, stall_percent=0)
    for (work, task, _), result in zip(runs, assert_same(harness(p), runs, timing), strict=True):
        guess = estimate(work.compiled, task, p, latency=timing.latency)
        assert guess.cycles == pytest.approx(result.cycles, rel=0.05)


def in_blocks(hardware: Hardware) -> Work:
    """A network larger than the buffers of a machine made for others: heads in groups, rows and tokens in blocks."""
    p = hardware.works(1)[0].p
    hidden = 600 if p.h_depth > 500 else 150
    moe = {"mlp": {"kind": "moe", "experts": 4, "hidden": hidden, "top_k": 2, "gate": "softmax_topk"}}
    dense = {"kind": "dense", "hidden": 500, "activation": "silu"}
    desc = random_description(
        1, class_token=True, image={"height": 10, "width": 10, "channels": 1}, patch={"height": 2, "width": 2}, dim=10,
        heads=6, head_dim=5, layers=[{"mlp": dense}, moe, {"mlp": dense | {"gated": True}}],
        tasks=[{"name": "rows", "head": "every_token", "norm": True, "outputs": 3}],
    )  # fmt: skip
    whole, blocks = Blocks.whole(desc, 1), fitted(desc, p).blocks
    assert blocks.rows < whole.rows and (blocks.heads < whole.heads or blocks.tokens < whole.tokens)
    return Work(desc, p, random_images(desc, 2, seed=1))


@pytest.mark.parametrize("hardware", [HARDWARE[0], HARDWARE[2]], ids=lambda h: f"{h.t}x{h.c}x{h.k}")
def test_networks_in_blocks(hardware):
    work = in_blocks(hardware)
    runs, timing = in_turns([work]), Timing(latency=20, stall_percent=0)
    result = assert_same(harness(work.p), runs, timing)[0]
    guess = estimate(work.compiled, work.tasks[0], work.p, latency=timing.latency)
    assert guess.cycles == pytest.approx(result.cycles, rel=0.05)


def spilled(hardware: Hardware) -> Work:
    """A network whose residual stream does not fit: it waits in DRAM. Both kinds of MLP, all heads but attention
    pooling, rows of outputs longer than those of the stream."""
    shape, buses = (hardware.t, hardware.c, hardware.k), {"data_bus": hardware.data_bus}
    moe = {"mlp": {"kind": "moe", "experts": 4, "hidden": 30, "top_k": 2, "gate": "softmax_topk"}}
    dense = {"kind": "dense", "hidden": 50, "activation": "silu"}
    tasks = [{"name": "rows", "head": "every_token", "norm": True, "outputs": 21},
             {"name": "one", "head": "class_token", "norm": True, "outputs": 9},
             {"name": "mean", "head": "mean_norm", "norm": True, "outputs": 5},
             {"name": "raw", "head": "none", "norm": False}]  # fmt: skip
    desc = random_description(
        1, class_token=True, image={"height": 12, "width": 14, "channels": 2}, patch={"height": 2, "width": 1}, dim=18,
        heads=3, head_dim=5, layers=[{"mlp": dense}, moe, {"mlp": dense | {"windows": 2}}], tasks=tasks,
    )  # fmt: skip
    p = auto_params([desc], *shape, **buses)
    needs = buffer_needs(desc, p, blocks=replace(Blocks.spilled(desc, p, 1, 0, 2), heads=1))
    p = replace(p, **needs | {"weight_depth": p.weight_depth, "spill": True})
    blocks = fitted(desc, p).blocks
    assert blocks.stream and 2 * blocks.stream < desc.model.tokens and blocks.heads == 1
    return Work(desc, p, random_images(desc, 2, seed=1))


@pytest.mark.parametrize("hardware", [HARDWARE[0], HARDWARE[2]], ids=lambda h: f"{h.t}x{h.c}x{h.k}")
def test_spilled(hardware):
    work = spilled(hardware)
    runs, timing = in_turns([work]), Timing(latency=20, stall_percent=0)
    for (_, task, _), result in zip(runs, assert_same(harness(work.p), runs, timing), strict=True):
        guess = estimate(work.compiled, task, work.p, latency=timing.latency)
        assert guess.cycles == pytest.approx(result.cycles, rel=0.05)
        written = guess.dram_bytes["output"] + guess.dram_bytes["spilled"]  # the counter's: in whole beats
        assert written <= result.counters["gmem1_write_bytes"] < 1.1 * written
    assert_same(harness(work.p), runs, Timing(latency=30, stall_percent=40, seed=3, jitter=20))


def test_very_slow_memory():
    """Rings and queues run empty all the time."""
    work = SMALL.works(1)[0]
    assert_same(harness(work.p), in_turns([work], 1), Timing(latency=400, stall_percent=85, seed=5))


def test_bursts_longer_than_the_memory_takes():
    """They are found; the machine of `HARDWARE` whose bursts have 16 beats makes none."""
    work = SMALL.works(1)[0]
    for longest in (63, 1):
        with pytest.raises(SimulationError, match="m_axi_gmem1: a burst longer than the memory takes"):
            assert_same(harness(work.p), in_turns([work], 1), Timing(longest_burst=longest))


def test_nothing_remains_of_earlier_runs():
    """The same image, later, after other models and tasks: the same bits in the same number of cycles."""
    works = SMALL.works()
    assert {len(work.desc.model.layers) for work in works} == {1, 2, 3}
    runs = in_turns(works) + in_turns(works)[::-1] + in_turns(works)
    seen = {}
    for (work, task, run), result in zip(runs, assert_same(harness(works[0].p), runs), strict=True):
        first = seen.setdefault((work, task, run), result)
        assert (result.output, result.cycles) == (first.output, first.cycles)


def test_memories_start_with_random_bits():
    """Every word with others: else the tests above might not see that something relies on words never written."""
    work = SMALL.works(1)[0]
    task, compiled = work.tasks[0], work.compiled
    buffer = work.probes[task].buffers["H"]
    probe = Probe(f"hwgen_accelerator.{buffer['paths'][0]}", 0, buffer["depth"], buffer["width"])
    job = Job(compiled.entries[task], work.input(0), compiled.region_bytes[task], task)

    def contents(seed: int) -> np.ndarray:
        """A bank of H after the first instruction, when nobody has written any."""
        machine = harness(work.p)
        result = machine.run([job], program=compiled.program, weights=compiled.weights, probes={task: {0: [probe]}},
                             timing=Timing(seed=seed))  # fmt: skip
        return result[0].dumps[0][0]

    first, second = contents(1), contents(2)
    assert (first != second).mean() > 0.95
    assert np.array_equal(first, contents(1))
    assert len(np.unique(first, axis=0)) > 0.95 * len(first)
    bits = np.unpackbits(first, axis=-1, bitorder="little")
    assert 0.45 < bits[:, : buffer["width"]].mean() < 0.55
    assert not bits[:, buffer["width"] :].any()


@pytest.mark.slow
def test_example():
    """Two test images of the trained model through both tasks, on the machine of its config.yaml: what `make demo` does
    with more; in tests/system/test_edge_moe.py on one with larger buffers, of the same array."""
    project = load_project(MNIST / "config.yaml")
    with np.load(MNIST / "test.npz") as archive:
        images = archive["images"][:2]
    image = project.models[0].model.image
    work = Work(project.models[0], project.params, images.reshape(2, image.height, image.width, image.channels))
    assert len(work.tasks) == 2
    assert_same(harness(project.params), in_turns([work]))
