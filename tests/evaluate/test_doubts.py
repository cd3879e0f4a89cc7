"""Every wrong assumption of an import is named by the one that makes it agree with a reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.evaluate.reference import Reference, check_import
from hwgen.importers import Overrides, load
from tests.evaluate.helpers import IMAGENET, check, imported, outputs, quiet, random_images
from tests.importers.moe_models import state_dict
from tests.importers.timm_models import NORMALIZE, timm, vit


def marked(activation: Any) -> Any:
    """A network with pre-activations where the kinds of GELU differ most from each other, in the end by 1 %."""
    model = vit(act_layer=activation)
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.fc1.bias.sub_(2.5)
            block.mlp.fc2.weight.mul_(30)
    return model


def faint(eps: float) -> Any:
    """A network of small tokens, whose LayerNorms depend on their epsilon."""
    model = vit(norm_layer=partial(torch.nn.LayerNorm, eps=eps))
    with torch.no_grad():
        for part in (model.patch_embed.proj.weight, model.patch_embed.proj.bias, model.pos_embed, model.cls_token):
            part.mul_(0.01)
    return model


HALF = (np.full(3, 0.5), np.full(3, 0.5))
CODES = (np.zeros(3), np.full(3, 1 / 255))
HALF_OPTIONS = "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"
CODES_OPTIONS = "--mean 0,0,0 --std 0.00392157,0.00392157,0.00392157"
UNSUPPORTED = ", which is not supported yet"
#: A network, what is told of it, its normalisation, the assumption that is named, and how the sentence ends.
WRONG: dict[str, tuple[Any, dict[str, Any], tuple[np.ndarray, np.ndarray], str, str]] = {
    "normalisation": (vit, {}, HALF, "normalisation mean 0.5,0.5,0.5 std 0.5,0.5,0.5", f": give `{HALF_OPTIONS}`"),
    "codes": (vit, {}, CODES, "normalisation mean 0,0,0 std 0.00392157,0.00392157,0.00392157",
              f": give `{CODES_OPTIONS}`"),
    "heads": (partial(vit, num_heads=8), {}, IMAGENET, "number of heads 8", ": give `--heads 8`"),
    "pooling": (partial(vit, global_pool="avg", fc_norm=False), {}, IMAGENET, "pooling mean",
                ": give `--tasks classify:mean`"),
    "max": (partial(vit, global_pool="max"), {"pooling": "avg"}, IMAGENET, "pooling max", UNSUPPORTED),
    "avgmax": (partial(vit, global_pool="avgmax"), {"pooling": "avg"}, IMAGENET, "pooling avgmax", UNSUPPORTED),
    "epsilon": (partial(faint, 1e-5), {}, IMAGENET, "epsilon 1e-05", ": give `--layer-norm-eps 1e-05`"),
    "relu": (partial(vit, act_layer=torch.nn.ReLU), {}, IMAGENET, "activation relu",
             ": give `--activation relu`"),
    "silu": (partial(vit, act_layer=torch.nn.SiLU), {}, IMAGENET, "activation silu",
             ": give `--activation silu`"),
    "quick_gelu": (partial(vit, act_layer=timm.layers.QuickGELU), {}, IMAGENET, "activation quick_gelu",
             ": give `--activation quick_gelu`"),
    "gelu_tanh": (partial(marked, timm.layers.GELUTanh), {}, IMAGENET, "activation gelu_tanh",
             ": give `--activation gelu_tanh`"),
    "post-norm": (partial(vit, block_fn=timm.models.vision_transformer.ResPostBlock), {}, IMAGENET, "post-norm blocks",
                  ": give `--post-norm`"),
    "pre-norm": (vit, {"post_norm": True}, IMAGENET, "pre-norm blocks", ": give `--no-post-norm`"),
    "two": (partial(vit, num_heads=8), {}, HALF, "normalisation mean 0.5,0.5,0.5 std 0.5,0.5,0.5 and number of heads 8",
            f": give `{HALF_OPTIONS} --heads 8`"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_assumption_is_named(tmp_path: Path, name: str) -> None:
    """None of them shows in the state dict."""
    make, changes, normalize, assumption, end = WRONG[name]
    model = make()
    lines = check(imported(model, tmp_path, **changes), outputs(model, random_images(), normalize)).split("\n")
    assert lines[:2] == [
        "FILE: outputs_classify", "  expected: the import's outputs within 0.001 of these (relative rms)"
    ]  # fmt: skip
    assert lines[2].startswith("  found:    ") and lines[2].endswith(" on 3 image(s)")
    start = f"  mend:     with {assumption} it agrees ("
    assert lines[3].startswith(start) and lines[3].endswith(")" + end), lines[3]
    assert float(lines[3].removeprefix(start).removesuffix(")" + end)) < 1e-5


def test_nothing_agrees(tmp_path: Path) -> None:
    network = imported(vit(), tmp_path)
    text = check(network, np.random.default_rng(0).normal(size=(2, 10)))
    assert text.endswith(
        "mend:     doubt normalisation, number of heads, pooling, epsilon of the LayerNorms, activation, post-norm "
        "blocks, and whether the images are the same: no usual value of one of these makes it agree"
    )
    assert "doubt number of heads, pooling" in check(network, np.ones((1, 10)), onnx=True)


def test_an_onnx_file_says_nothing_on_the_normalisation(tmp_path: Path) -> None:
    """Its outputs are of pixels normalised as in the import."""
    wanted = outputs(vit(), random_images(), HALF)
    assert "normalisation" in check(imported(vit(), tmp_path), wanted)
    assert "normalisation" not in check(imported(vit(), tmp_path), wanted, onnx=True)


def test_the_worst_image_is_tried(tmp_path: Path) -> None:
    """For the first the reference has what the import computes."""
    model = vit(num_heads=8)
    images = random_images()
    wanted = outputs(model, images)
    network = imported(model, tmp_path)
    wanted[0] = network.network().run(images[:1], "classify")[0, 0]
    assert "number of heads 8 it agrees" in check(network, wanted)


def test_mixtures_of_experts(tmp_path: Path) -> None:
    """Activations and post-norm blocks are tried of dense networks only."""
    np.savez(tmp_path / "m3vit.npz", **state_dict())
    size = {"height": 8, "width": 12}
    given = Overrides.model_validate({"heads": 8, "top_k": 2, "image_size": size, "normalize": NORMALIZE.model_dump()})
    wrong = load(tmp_path / "m3vit.npz", overrides=given.model_copy(update={"heads": 4}))
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    wanted = load(tmp_path / "m3vit.npz", overrides=given).network().run(images, "task1")
    with pytest.raises(HwgenError, match=r"FILE: outputs_task1\n.*\n.*\n.*number of heads 8 it agrees") as caught:
        check_import(wrong, Reference("FILE", images, {"task1": wanted}), quiet)
    assert caught.value.mend.endswith("give `--heads 8`")
