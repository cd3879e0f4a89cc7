"""Buffer needs: exactly enough, and a helpful message when there is less."""

from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, buffer_needs, check_fits, compile_model
from hwgen.compiler.blocks import Blocks
from hwgen.compiler.layout import Layout
from hwgen.machine.params import HwParams
from sim.isa_model import IsaError, run_task
from tests.random_model import random_description, random_images

MOE = {"kind": "moe", "experts": 5, "hidden": 40, "top_k": 2, "gate": "softmax_topk"}
SMALL = {
    "image": {"height": 8, "width": 8, "channels": 3}, "patch": {"height": 2, "width": 2}, "class_token": True,
    "dim": 24, "heads": 2, "head_dim": 12, "layers": [{"mlp": {"kind": "dense", "hidden": 50}}, {"mlp": MOE}],
    "tasks": [{"name": "map", "head": "every_token", "outputs": 9, "norm": True}],
}  # fmt: skip


def test_needs_by_hand():
    """17 tokens on T, C, K = 4, 8, 16: W = 16, five row tiles, heads 16 channels apart."""
    needs = buffer_needs(random_description(1, **SMALL), HwParams(t=4, c=8, k=16))
    assert needs == {
        "max_tokens": 17, "max_experts": 5, "max_topk": 2,
        "norm_depth": 3,  # 24 channels in words of 8
        "x_depth": 17 * 3,
        "y_depth": 5 * 2 + 5 * 2,  # norm2 of 24 channels, context of two heads
        "h_depth": 2 * 5 * 2 + 5 * 3,  # gathered tokens of two experts, 24 channels, then 40 hidden ones
        "k_depth": 3 * 2, "v_depth": 2 * 4,
        "weight_depth": 2 * (1 + 4),  # fc2 of the dense layer: 50 inputs
    }  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["x_depth", "y_depth", "h_depth", "k_depth", "v_depth", "max_tokens", "max_experts"])
@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 4, 16), (8, 8, 1)])
@pytest.mark.parametrize("kind", [{}, {"qk_norm": True, "heads": 3, "head_dim": 5}, {"tasks": [
    SMALL["tasks"][0] | {"head": "map", "outputs": None, "mlp": {"kind": "dense", "hidden": 2000}}]}],
    ids=["usual", "qk_norm", "pooling"])
def test_one_less_is_too_small(name, shape, batch, kind):
    """The needs are tight: with one word less the compiler refuses, and the program leaves the buffer."""
    desc = random_description(2, **SMALL | kind)
    for part in ("weight", "bias"):
        desc.tensors[f"layers.1.moe.gate.map.{part}"][:] = 0  # so that the first experts get every token
    need = buffer_needs(desc, HwParams(t=shape[0], c=shape[1], k=shape[2]), batch)
    exact = replace(HwParams(t=shape[0], c=shape[1], k=shape[2]), **need)
    check_fits(desc, exact, batch)
    compiled = compile_model(desc, exact, batch)
    images = compiled.pack_input(random_images(desc, batch, 0))
    files = compiled.program, compiled.weights, compiled.entries["map"], images, compiled.output_bytes["map"]
    run_task(exact, *files)
    less = replace(exact, **{name: need[name] - 1})
    with pytest.raises(HwgenError, match=name):
        compile_model(desc, less, batch)
    with pytest.raises((IsaError, IndexError)):
        run_task(less, *files)


def test_message():
    desc = random_description(1, **SMALL)
    p = replace(auto_params([desc], 4, 8, 16), h_depth=20, v_depth=7)
    with pytest.raises(HwgenError) as error:
        check_fits(desc, p)
    assert str(error.value) == (
        "model random: h_depth, v_depth\n"
        "  expected: h_depth of at least 35 (layers.1: tokens and hidden), v_depth of at least 8 (values)\n"
        "  found:    h_depth = 20, too small by 15, v_depth = 7, too small by 1\n"
        "  mend:     enlarge the buffers, or generate an accelerator sized for this model"
    )


def test_features():
    """An accelerator has what one of its models needs, and is refused to models that need more."""
    plain, rms = random_description(1, **SMALL), random_description(1, **SMALL, rms_norm=True)
    usual, p = auto_params([plain], 4, 8, 16), auto_params([plain, rms], 4, 8, 16)
    assert p == replace(usual, rms_norm=True)
    compile_model(rms, p)
    with pytest.raises(HwgenError) as error:
        compile_model(rms, usual)
    assert str(error.value) == (
        "model random: rms_norm\n  expected: an accelerator with RMSNorm\n  found:    one without\n"
        "  mend:     generate an accelerator for this model"
    )


def test_auto_params_fit_every_model():
    descs = [random_description(seed) for seed in range(6)]
    p = auto_params(descs, 4, 8, 8, weight_bus=128, data_bus=64)
    assert (p.weight_bus, p.data_bus) == (128, 64)
    for desc in descs:
        check_fits(desc, p)
    needs = [buffer_needs(desc, p) for desc in descs]
    for name in needs[0]:
        need = max(n[name] for n in needs)
        if name != "weight_depth":
            assert getattr(p, name) <= (2 * need if name.endswith("_depth") else need)


def test_ring_of_an_accelerator_made_for_its_models():
    """24 channels: row blocks of the projection (3 tiles of 1 + 2 words) and of fc1 (7 of 1 + 2) follow each other."""
    desc = random_description(1, **SMALL)
    assert auto_params([desc], 4, 8, 16).weight_depth == 32
    assert max(Layout(desc, HwParams(t=4, c=8, k=16), 1, Blocks.whole(desc, 1)).kept()) == 3 * 3 + 7 * 3 == 30
    # fc1 alone would take 375 tiles of 1 + 38 words of 128 bytes, which is too much; fc2 needs two of 1 + 188.
    wide = random_description(1, **SMALL | {"dim": 600, "layers": [{"mlp": {"kind": "dense", "hidden": 3000}}]})
    assert auto_params([wide], 4, 8, 16).weight_depth == 512
