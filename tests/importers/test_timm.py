"""timm's Vision Transformers: every intermediate tensor of the imported network against timm's own forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.importers import ImageSize, Imported, Normalize, Overrides, TaskChoice, load
from hwgen.quantize import quantize_network
from hwgen.quantize.options import Options
from tests.importers.timm_models import distilled, intermediates, pixels, timm, told, vit


def saved(model: Any, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "model.pth"
    torch.save(model.state_dict(), path)
    return path


def random_images(imported: Imported, count: int = 2) -> np.ndarray:
    image = imported.model.image
    shape = (count, image.height, image.width, image.channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def assert_same(imported: Imported, model: Any) -> None:
    """All tensors within 1e-4 of the tensor's largest value; a distilled model's logits are the tasks' mean."""
    images = random_images(imported)
    wanted = intermediates(model, images)
    network = imported.network(np.float32)
    seen: dict[str, np.ndarray] = {}
    outputs = [network.run(images, task.name, seen.__setitem__) for task in imported.model.tasks]
    attn = imported.model.attn_dim
    for name, value in wanted.items():
        found = np.mean(outputs, 0)[:, 0] if name == "output" else seen[name]
        if name == "embed" and imported.model.norm_pre:  # what enters the first block
            found = seen["stream"]
        if imported.model.qk_norm and name.endswith((".q", ".k")):
            found = seen[f"{name}_proj"]
        elif name.endswith(".k"):  # the quantizer drops k's bias, which cancels in the softmax
            found = found + network.tensors[f"l{name.split('.')[1]}.qkv.b"][attn : 2 * attn]
        assert np.abs(found - value).max() <= 1e-4 * np.abs(value).max(), name
    assert len(wanted) == 2 + 9 * len(imported.model.layers)


VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({}, ("class_token",)),
    "no qkv bias": ({"qkv_bias": False}, ("class_token",)),
    "LayerScale": ({"init_values": 0.5}, ("class_token",)),
    "mean pooling before the norm": ({"global_pool": "avg"}, ("mean_norm",)),
    "mean pooling, no class token": ({"global_pool": "avg", "class_token": False}, ("mean_norm",)),
    "mean pooling behind the norm": ({"global_pool": "avg", "class_token": False, "fc_norm": False}, ("mean",)),
    "wide MLP": ({"mlp_ratio": 1.5}, ("class_token",)),
    "gated": ({"mlp_layer": timm.layers.SwiGLU}, ("class_token",)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(tmp_path: Path, variant: str) -> None:
    changes, heads = VARIANTS[variant]
    model = vit(**changes)
    imported = load(saved(model, tmp_path), overrides=told(pooling=changes.get("global_pool", "token")))
    assert tuple(task.head for task in imported.model.tasks) == heads
    assert (imported.source, imported.eps, imported.model.heads) == ("timm", 1e-6, 2)
    assert_same(imported, model)


@pytest.mark.parametrize("layer, half", [("SwiGLUPacked", "first"), ("GluMlp", "last")])
def test_gated_in_one_tensor(tmp_path: Path, layer: str, half: str) -> None:
    """Which half is activated the tensors do not tell."""
    model = vit(mlp_layer=getattr(timm.layers, layer), init_values=0.5)
    path = saved(model, tmp_path)
    imported = load(path, overrides=told().model_copy(update={"activated": half}))
    assert all(block.mlp.gated for block in imported.model.layers)
    assert_same(imported, model)
    assert "give `--activated first` or `--activated last`" in message(path)


def test_distilled(tmp_path: Path) -> None:
    model = distilled()
    imported = load(saved(model, tmp_path), overrides=told(pooling=None))
    assert [(task.name, task.head) for task in imported.model.tasks] == [
        ("classify", "class_token"),
        ("distill", "distillation_token"),
    ]
    assert imported.model.tokens == 18
    assert "distilled: the prediction is the mean of both tasks' logits" in imported.notes
    assert_same(imported, model)


def test_deit_tiny(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", pretrained=False).eval()
    imported = load(saved(model, tmp_path), overrides=told(heads=3))
    structure = imported.model
    assert (structure.dim, len(structure.layers), structure.heads, structure.tokens) == (192, 12, 3, 197)
    assert structure.layers[0].mlp.hidden == 768
    assert structure.tasks[0].outputs == 1000
    assert_same(imported, model)


def test_deit_tiny_quantized(tmp_path: Path) -> None:
    """The integer model's logits against timm's, by the default options."""
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", pretrained=False).eval()
    imported = load(saved(model, tmp_path), overrides=told(heads=3))
    images = random_images(imported, 10)
    description = quantize_network(imported.network(), images[:8], Options(), lambda line: None)
    scale = description.model.scales["tasks.classify.output"]
    found = scale * Golden(description).run(images[8:], "classify").output[:, 0]
    with torch.no_grad():
        wanted = model(pixels(images[8:])).numpy()
    assert 10 * np.log10((wanted**2).mean() / ((found - wanted) ** 2).mean()) >= 25


def test_rectangular_image_and_patch(tmp_path: Path) -> None:
    model = vit(img_size=(32, 48), patch_size=(8, 4))
    imported = load(saved(model, tmp_path), overrides=told(image_size=ImageSize(height=32, width=48)))
    assert (imported.model.patch.height, imported.model.patch.width) == (8, 4)
    assert_same(imported, model)


def test_no_position_of_the_class_token(tmp_path: Path) -> None:
    model = vit(no_embed_class=True)
    path = saved(model, tmp_path)
    for size in (None, ImageSize(height=32, width=32)):
        imported = load(path, overrides=told(image_size=size))
        assert imported.notes[0] == "no position embedding of the tokens before the patches (no_embed_class)"
        assert_same(imported, model)
    assert "image 32x32: taken to be square in its 16 patches" in load(path, overrides=told()).notes
    other = told(image_size=ImageSize(height=24, width=40))  # of 15 patches, which 16 rows may be, too
    assert load(path, overrides=other).model.patches == 15


def test_norm_before_the_blocks(tmp_path: Path) -> None:
    model = vit(pre_norm=True)
    imported = load(saved(model, tmp_path), overrides=told())
    assert imported.model.norm_pre
    assert_same(imported, model)


def test_normalised_q_and_k(tmp_path: Path) -> None:
    model = vit(qk_norm=True)
    imported = load(saved(model, tmp_path), overrides=told())
    assert imported.model.qk_norm
    assert_same(imported, model)


def test_post_norm_quantized(tmp_path: Path) -> None:
    """Norms behind attention and MLP: the float network, and the integer model's logits, by the default options."""
    torch.manual_seed(0)
    model = timm.create_model("vit_base_patch16_rpn_224", pretrained=False, embed_dim=192, num_heads=3, depth=6,
                              img_size=64, init_values=0.3).eval()  # fmt: skip
    imported = load(saved(model, tmp_path), overrides=told(heads=3, pooling="avg", post_norm=True))
    assert imported.model.post_norm
    images = random_images(imported, 40)
    with torch.no_grad():
        wanted = model(pixels(images)).numpy()
    found = imported.network(np.float32).run(images, "classify")[:, 0]
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    description = quantize_network(imported.network(), images[:32], Options(), lambda line: None)
    scale = description.model.scales["tasks.classify.output"]
    found = scale * Golden(description).run(images[32:], "classify").output[:, 0]
    noise = 10 * np.log10((wanted[32:] ** 2).mean() / ((found - wanted[32:]) ** 2).mean())
    print(f"{noise:.1f} dB")
    assert noise >= 30


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True, "qk_norm": True}, {"global_pool": "map"},
                                     {"num_classes": 0}, {"global_pool": "avg", "num_classes": 0}])  # fmt: skip
def test_rms_norm(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = vit(norm_layer=timm.layers.RmsNorm, **changes)
    imported = load(saved(model, tmp_path), overrides=told())
    assert imported.model.rms_norm
    warning = "norms without a bias: taken to be RMSNorms; if they are LayerNorms save zeros as biases"
    assert warning in imported.warnings
    assert "RMSNorm epsilon 1e-06: as in most of these networks; else give --layer-norm-eps" in imported.notes
    if changes.get("num_classes", 10):
        assert_same(imported, model)


def test_rms_norm_quantized(tmp_path: Path) -> None:
    """timm's own small network with RMSNorm: logits of the integer model against timm's, by the default options."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit4", pretrained=False).eval()
    imported = load(saved(model, tmp_path), overrides=told(heads=3, pooling="avg"))
    assert imported.model.rms_norm and imported.model.register_tokens == 1
    images = random_images(imported, 40)
    description = quantize_network(imported.network(), images[:32], Options(), lambda line: None)
    scale = description.model.scales["tasks.classify.output"]
    found = scale * Golden(description).run(images[32:], "classify").output[:, 0]
    with torch.no_grad():
        wanted = model(pixels(images[32:])).numpy()
    noise = 10 * np.log10((wanted**2).mean() / ((found - wanted) ** 2).mean())
    print(f"{noise:.1f} dB")
    assert noise >= 25


@pytest.mark.parametrize("changes", [{}, {"num_classes": 0, "class_token": False}])
def test_attention_pooling(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Of the patches; without a head what is pooled is the output."""
    model = vit(global_pool="map", **changes)
    imported = load(saved(model, tmp_path), overrides=told(pooling=None))
    task = imported.model.tasks[0]
    assert (task.head, task.outputs) == ("map", 10 if not changes else None)
    assert_same(imported, model)


@pytest.mark.parametrize("changes", [{}, {"no_embed_class": True}, {"class_token": False, "global_pool": "avg"}])
def test_register_tokens(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = vit(reg_tokens=3, **changes)
    overrides = told(image_size=ImageSize(height=32, width=32), pooling=changes.get("global_pool", "token"))
    structure = (imported := load(saved(model, tmp_path), overrides=overrides)).model
    assert (structure.register_tokens, structure.prefix) == (3, 3 + changes.get("class_token", True))
    assert_same(imported, model)


@pytest.mark.parametrize("changes", [{}, {"no_embed_class": True}, {"class_token": False, "global_pool": "avg"}])
@pytest.mark.parametrize("size", [(48, 40), (16, 24)])
def test_another_image_size(tmp_path: Path, changes: dict[str, Any], size: tuple[int, int]) -> None:
    """Positions are resampled as timm does when it is given the size."""
    path = saved(vit(**changes), tmp_path)
    model = vit(**changes)
    model.set_input_size(img_size=size)
    asked = ImageSize(height=size[0], width=size[1])
    imported = load(path, overrides=told(image_size=asked, pooling=changes.get("global_pool", "token")))
    grid = f"{size[0] // 8}x{size[1] // 8}"
    assert f"positions of 4x4 patches resampled to {grid}, as timm does (bicubic, antialias)" in imported.notes
    assert_same(imported, model)


def test_no_head(tmp_path: Path) -> None:
    model = vit(num_classes=0)
    imported = load(saved(model, tmp_path), overrides=told(pooling=None))
    images = random_images(imported)
    found = imported.network(np.float32).run(images, "features")
    wanted = intermediates(model, images)
    np.testing.assert_allclose(found[:, 0], wanted["output"], atol=1e-4)
    assert found.shape == (2, 17, 128)
    pooled = load(saved(vit(num_classes=0, global_pool="avg"), tmp_path), overrides=told(pooling=None))
    assert not pooled.model.tasks[0].norm
    assert pooled.notes[0].endswith("the mean over the patches and fc_norm stay to be done")


def test_overrides(tmp_path: Path) -> None:
    """Four heads of 32, normalisation to -1..1 and mean pooling, none of which the checkpoint tells."""
    model = vit(num_heads=4)
    overrides = Overrides(
        heads=4, normalize=Normalize(mean=[127.5] * 3, std=[127.5] * 3), layer_norm_eps=1e-5, name="four",
        activation="gelu",
        tasks=[TaskChoice(name="label", head="mean")],
    )  # fmt: skip
    imported = load(saved(model, tmp_path), "timm", overrides)
    assert (imported.model.heads, imported.model.head_dim, imported.model.name) == (4, 32, "four")
    assert (imported.mean, imported.std, imported.eps) == ([127.5] * 3, [127.5] * 3, 1e-5)
    assert [(task.name, task.head) for task in imported.model.tasks] == [("label", "mean")]
    assert load(saved(model, tmp_path), "timm", told(heads=None, head_dim=32)).model.heads == 4


def test_what_is_assumed_is_noted(tmp_path: Path) -> None:
    imported = load(saved(vit(), tmp_path), overrides=told())
    assert imported.notes == [
        "image 32x32: taken to be square in its 16 patches",
        "LayerNorm epsilon 1e-06: as in most of these networks; else give --layer-norm-eps",
    ]
    assert imported.warnings == []


# --- errors


def message(path: Path, overrides: Overrides | None = None) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path, "timm", overrides or told())
    return caught.value.text().replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("changes", "tensor", "operator"),
    [
        (
            {"block_fn": timm.models.vision_transformer.ParallelThingsBlock}, "blocks.0.attns.0.attn.proj.weight",
            "attention and MLP side by side",
        ),
        (
            {"block_fn": timm.models.vision_transformer.ParallelScalingBlock}, "blocks.0.in_proj.weight",
            "attention and MLP side by side",
        ),
        ({"scale_attn_norm": True}, "blocks.0.attn.norm.weight", "a norm inside attention or MLP"),
        ({"global_pool": "map", "fc_norm": True}, "fc_norm.weight", "a norm behind attention pooling"),
        ({"embed_norm_layer": torch.nn.LayerNorm}, "patch_embed.norm.weight", "a norm inside the patch embedding"),
    ],
)  # fmt: skip
def test_other_variants_are_refused_by_tensor(
    tmp_path: Path, changes: dict[str, Any], tensor: str, operator: str
) -> None:
    text = message(saved(vit(**changes), tmp_path))
    expected = f"a network without {operator}: the machine has no operator for that"
    assert text.startswith(f"FILE: {tensor}\n  expected: {expected}\n  found:    a "), text
    assert text.endswith("mend:     this variant is not supported; docs/importing.md lists what is")


def test_what_the_checkpoint_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    path = saved(vit(img_size=(24, 56)), tmp_path)
    assert message(path) == (
        "FILE\n  expected: the size of 21 patches of 8x8, which the checkpoint does not tell\n"
        "  found:    no value given\n"
        "  mend:     give `--image-size HEIGHTxWIDTH`, or put the network's config.json beside it"
    )
    path = saved(vit(in_chans=1), tmp_path)
    assert "the normalisation of 1 channel(s), which" in message(path, told(normalize=None))


def test_overrides_that_do_not_fit(tmp_path: Path) -> None:
    path = saved(vit(), tmp_path)
    size = told(image_size=ImageSize(height=32, width=41))
    assert message(path, size).endswith("image_size\n  expected: a multiple of the patches, 8x8\n  found:    32x41")
    other = saved(vit(img_size=(24, 56)), tmp_path / "other")
    size = told(image_size=ImageSize(height=32, width=32))
    assert message(other, size).endswith(
        "image_size\n  expected: a size of 21 patches of 8x8, as they make no square that could be resampled\n"
        "  found:    32x32"
    )
    assert message(path, told(heads=3)).endswith("heads\n  expected: heads * head_dim = 128\n  found:    3 * 42")
    assert message(path, told(normalize=Normalize(mean=[1.0], std=[1.0] * 3))).endswith(
        "normalize.mean\n  expected: 3 number(s), one per image channel\n  found:    [1.0]"
    )
    assert message(path, told(tasks=[TaskChoice(name="a"), TaskChoice(name="b")])).endswith(
        "tasks\n  expected: 1 task(s), as the checkpoint has\n  found:    a, b"
    )
