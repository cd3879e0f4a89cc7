"""Networks of transformers in folders as save_pretrained writes them: imported without a question, against their own
forward. test_random_networks.py draws more of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hwgen.importers import ImageSize, Imported, Overrides, load
from hwgen.importers.beside_transformers import DEFAULTS
from hwgen.importers.refused import MEND
from tests.importers.huggingface_models import (
    MEAN,
    PREPROCESSOR,
    STD,
    network,
    saved,
    siglip,
    siglip_classifier,
    transformers,
)
from tests.importers.libraries import difference, refusal

NETWORKS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "vit": (lambda: network("ViTForImageClassification", "ViTConfig", num_labels=7), ["class_token"]),
    "vit without head": (lambda: network("ViTModel", "ViTConfig", qkv_bias=False), ["none"]),
    "deit": (lambda: network("DeiTForImageClassification", "DeiTConfig", num_labels=7), ["class_token"]),
    "deit with teacher": (
        lambda: network("DeiTForImageClassificationWithTeacher", "DeiTConfig"), ["class_token", "distillation_token"],
    ),
    "dinov2": (lambda: network("Dinov2Model", "Dinov2Config", layerscale_value=0.5), ["none"]),
    "dinov2 with head": (
        lambda: network("Dinov2ForImageClassification", "Dinov2Config", num_labels=7), ["class_token", "mean"],
    ),
    "vit_msn": (lambda: network("ViTMSNForImageClassification", "ViTMSNConfig", hidden_act="silu"), ["class_token"]),
    "ijepa": (lambda: network("IJepaForImageClassification", "IJepaConfig", num_labels=7), ["mean"]),
    "siglip with head": (siglip_classifier, ["mean"]),
    "dinov2 with registers": (
        lambda: network("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", layerscale_value=0.5), ["none"],
    ),
    "dinov2 with SwiGLU": (  # whose hidden_act is gelu, which it does not use
        lambda: network("Dinov2Model", "Dinov2Config", layerscale_value=0.5, use_swiglu_ffn=True), ["none"],
    ),
    "clip with projection": (lambda: network("CLIPVisionModelWithProjection", "CLIPVisionConfig"), ["class_token"]),
    "siglip": (lambda: network("SiglipVisionModel", "SiglipVisionConfig", vision_use_head=False), ["none"]),
}  # fmt: skip


def check(imported: Imported, model: Any) -> None:
    assert imported.source == "huggingface"
    assert difference(imported, model, MEAN, STD) < 1e-4
    assert imported.warnings == []


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path: Path, name: str) -> None:
    """Nothing is asked for; files and folder are the same; so are the names of transformers' modules."""
    make, heads = NETWORKS[name]
    model = make()
    imported = load(saved(model, tmp_path))
    assert [task.head for task in imported.model.tasks] == heads
    check(imported, model)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    check(load(tmp_path / "pytorch_model.bin"), model)


def test_swiglu_as_transformers_4_saved_it(tmp_path: Path) -> None:
    """Both halves in one tensor."""
    model = network("Dinov2Model", "Dinov2Config", layerscale_value=0.5, use_swiglu_ffn=True)
    saved(model, tmp_path)
    state = {name: value for name, value in model.state_dict().items() if ".mlp." not in name}
    for index in range(model.config.num_hidden_layers):
        mlp = f"encoder.layer.{index}.mlp."
        parts = {name.removeprefix(mlp): value for name, value in model.state_dict().items() if mlp in name}
        for kind in ("weight", "bias"):
            state[f"{mlp}weights_in.{kind}"] = torch.cat([parts[f"gate_proj.{kind}"], parts[f"up_proj.{kind}"]])
            state[f"{mlp}weights_out.{kind}"] = parts[f"down_proj.{kind}"]
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    imported = load(tmp_path)
    check(imported, model)
    assert "activated first: as in transformers' code; else give --activated" in imported.notes


def test_clip_without_projection(tmp_path: Path) -> None:
    """The norm is the pooled class token's; here all tokens get it."""
    model = network("CLIPVisionModel", "CLIPVisionConfig")
    imported = load(saved(model, tmp_path))
    check(imported, lambda images: model.post_layernorm(model(images).last_hidden_state))


def test_attention_pooling(tmp_path: Path) -> None:
    """SigLIP's, of one tower or of that of two."""
    for model in (network("SiglipVisionModel", "SiglipVisionConfig"), siglip()):
        imported = load(saved(model, tmp_path))
        assert [task.head for task in imported.model.tasks] == ["map"]
        check(imported, lambda images: getattr(model, "vision_model", model)(images).pooler_output)  # noqa: B023


def test_the_encoder_of_a_masked_autoencoder(tmp_path: Path) -> None:
    model = network("ViTMAEForPreTraining", "ViTMAEConfig", decoder_hidden_size=32, decoder_num_hidden_layers=1,
                    decoder_num_attention_heads=2, decoder_intermediate_size=32, mask_ratio=0.0)  # fmt: skip
    imported = load(saved(model, tmp_path))
    in_order = torch.arange(16.0).expand(2, -1)  # else the patches are shuffled
    check(imported, lambda images: model.vit(images, noise=in_order))
    assert "the decoder left out (" in "\n".join(imported.notes)


def test_what_states_it_is_noted(tmp_path: Path) -> None:
    model = network("ViTForImageClassification", "ViTConfig", num_labels=7)
    assert load(saved(model, tmp_path)).notes == [
        "heads 4: stated by config.json: num_attention_heads",
        "activation gelu: stated by config.json: hidden_act",
        "layer_norm_eps 1e-12: stated by config.json: layer_norm_eps",
        "pooling token: stated by config.json: model_type vit",
        "image_size 32x32: stated by config.json: image_size",
        "normalize mean 0.48,0.46,0.41 std 0.27,0.26,0.28: stated by preprocessor_config.json",
        "resize whole:bilinear: stated by preprocessor_config.json, for pictures of another size",
    ]


def test_shards(tmp_path: Path) -> None:
    model = network("ViTForImageClassification", "ViTConfig", num_labels=7)
    saved(model, tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    check(load(tmp_path), model)
    check(load(tmp_path / "model.safetensors.index.json"), model)
    next(tmp_path.glob("model-00002-*")).unlink()
    assert "expected: a checkpoint\n  found:    no such file or folder" in refusal(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}')
    assert "weight_map\n  expected: files in the same folder\n  found:    '../b'" in refusal(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "weight_map\n  expected: a JSON file that names each tensor's file\n" in refusal(tmp_path)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults_are_those_of_transformers(kind: str) -> None:
    config = transformers.models.auto.configuration_auto.CONFIG_MAPPING[kind]()
    assert {key: getattr(config, key) for key in DEFAULTS[kind]} == DEFAULTS[kind]


def test_keys_that_a_file_leaves_out(tmp_path: Path) -> None:
    """As those of google/siglip-base: the defaults of transformers hold."""
    model = siglip_classifier(hidden_size=48, num_attention_heads=12)
    saved(model, tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    for key in ("num_attention_heads", "hidden_act", "layer_norm_eps"):
        del content["vision_config"][key]
    (tmp_path / "config.json").write_text(json.dumps(content))
    imported = load(tmp_path)
    check(imported, model)
    origin = "stated by config.json: model_type siglip_vision_model, whose default it is"
    assert f"heads 12: {origin}" in imported.notes


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov2 with registers", "siglip", "deit with teacher"])
def test_another_image_size(tmp_path: Path, name: str) -> None:
    """Positions are resampled as transformers does at run time."""
    model = NETWORKS[name][0]()
    saved(model, tmp_path)
    for height, width in ((48, 40), (16, 24)):
        imported = load(tmp_path, overrides=Overrides(image_size=ImageSize(height=height, width=width)))
        options = {} if "dinov2" in name else {"interpolate_pos_encoding": True}
        check(imported, lambda images: model(images, **options))  # noqa: B023
        grid, kind = f"{height // 8}x{width // 8}", "bicubic, antialias" if "registers" in name else "bicubic"
        assert f"positions of 4x4 patches resampled to {grid}, as transformers does ({kind})" in imported.notes


def test_a_size_with_as_many_patches_as_positions(tmp_path: Path) -> None:
    """What the positions are of is the config's size, not that which is asked for."""
    model = network("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", image_size=24)
    imported = load(saved(model, tmp_path), overrides=Overrides(image_size=ImageSize(height=40, width=16)))
    check(imported, model)


def test_the_size_that_the_preprocessor_makes(tmp_path: Path) -> None:
    """DINOv2's positions are for 518x518, its images are of 224x224."""
    crop = {"do_center_crop": True, "crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 28}}
    saved(network("Dinov2Model", "Dinov2Config"), tmp_path, PREPROCESSOR | crop)
    note = "preprocessor_config.json makes images of 24x24: for that size give --image-size 24x24"
    assert note in load(tmp_path).notes
    assert note not in load(tmp_path, overrides=Overrides(image_size=ImageSize(height=24, width=24))).notes


def test_classes(tmp_path: Path) -> None:
    model = network("ViTForImageClassification", "ViTConfig", num_labels=7)
    saved(model, tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content["id2label"] = {"0": "cat", "1": "dog"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert load(tmp_path).warnings == ["config.json states 2 classes, the head has 7"]


def test_without_files_beside_it(tmp_path: Path) -> None:
    """What the tensors do not tell is asked for; what the head reads they tell."""
    model = network("ViTForImageClassification", "ViTConfig", num_labels=7)
    torch.save(model.state_dict(), tmp_path / "model.bin")
    assert refusal(tmp_path / "model.bin").endswith(
        "mend:     give `--activation gelu`, `--heads`, `--mean and --std`, or put the network's config.json beside it"
    )


# --- what the machine cannot do

REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "SigLIP 2 of any size": (
        lambda: network("Siglip2VisionModel", "Siglip2VisionConfig", num_patches=16, image_size=None),
        "DIR/config.json: model_type", "images of any size in one batch (NaFlex), their patches in a row",
    ),
    "BEiT": (
        lambda: network("BeitForImageClassification", "BeitConfig"), "DIR/config.json: model_type",
        "relative positions in the attention's scores",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    make, where, operator = REFUSED[name]
    text = refusal(saved(make(), tmp_path))
    assert text.startswith(where), text
    assert f"\n  expected: a network without {operator}: the machine has no operator for that\n" in text, text
    assert text.endswith(f"\n  mend:     {MEND}")


def test_refused_by_tensor_without_a_config(tmp_path: Path) -> None:
    model = network("BeitForImageClassification", "BeitConfig", use_relative_position_bias=True,
                    use_absolute_position_embeddings=True)  # fmt: skip
    saved(model, tmp_path)
    (tmp_path / "config.json").unlink()
    text = refusal(tmp_path)
    assert text.startswith("DIR: beit.encoder.layer.0.attention.attention.relative_position_bias"), text
    assert "relative positions in the attention's scores" in text


def test_an_unknown_model_type(tmp_path: Path) -> None:
    saved(network("ViTModel", "ViTConfig"), tmp_path)
    content = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "vit_of_tomorrow"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    text = refusal(tmp_path)
    assert text.startswith("DIR/config.json: model_type\n  expected: one of vit, deit, "), text
    assert "found:    'vit_of_tomorrow'" in text


def test_a_tensor_of_q_k_v_that_is_missing(tmp_path: Path) -> None:
    model = network("ViTModel", "ViTConfig")
    state = model.state_dict()
    del state["layers.1.attention.k_proj.weight"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert refusal(tmp_path / "pytorch_model.bin") == (
        "DIR: blocks.1.attn.k.weight\n  expected: float [32, 32], as layers.1.attention.q_proj.weight\n"
        "  found:    no such tensor"
    )
