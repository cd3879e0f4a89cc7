"""Networks drawn at random from timm's and transformers' constructors, saved and wrapped in one way or another."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import ImageSize, Overrides, load
from tests.importers.huggingface_models import MEAN, PREPROCESSOR, STD, network, saved, siglip_classifier
from tests.importers.libraries import difference, timm
from tests.importers.timm_models import vit

#: One in so many networks of transformers has an activation that the machine has no table of.
RARE = 12


@dataclass
class Drawn:
    """A network in a folder.

    named:    tensors and keys that a refusal may name; nothing: it must be imported
    forward:  what the library computes, of images of `size` if that is given
    """

    description: str
    folder: Path
    named: set[str]
    forward: Any
    size: tuple[int, int] | None = None


#: Of timm's constructor: arguments, how they are in `model_args`, and what shows them.
MISSING_IN_TIMM: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"norm_layer": timm.layers.SimpleNorm}, {"norm_layer": "simplenorm"}, "model_args.norm_layer"),
    ({"mlp_layer": timm.layers.GluMlp}, {"mlp_layer": "GluMlp"}, "model_args.mlp_layer"),
    ({"mlp_layer": timm.layers.GluMlp}, {}, "--activated"),
    ({"block_fn": timm.models.vision_transformer.ParallelScalingBlock}, {"block_fn": "ParallelScalingBlock"},
     "model_args.block_fn"),
    ({"block_fn": timm.models.vision_transformer.ParallelThingsBlock}, {}, "blocks.0.attns.0"),
    ({"scale_attn_norm": True}, {}, "blocks.0.attn.norm.weight"),
    ({"scale_mlp_norm": True}, {}, "blocks.0.mlp.norm.weight"),
    ({"embed_norm_layer": torch.nn.LayerNorm}, {}, "patch_embed.norm.weight"),
    ({"pos_embed": "none"}, {}, "pos_embed"),
    ({"final_norm": False}, {}, "norm.weight"),
    ({"global_pool": "max"}, {}, "pooling"),
    ({"global_pool": "avg", "pool_include_prefix": True}, {"pool_include_prefix": True},
     "model_args.pool_include_prefix"),
    ({"act_layer": torch.nn.Mish}, {"act_layer": "mish"}, "activation"),
]  # fmt: skip


def draw_timm(dice: random.Random, folder: Path) -> Drawn:
    heads, patch = dice.choice([1, 2, 3, 4]), dice.choice([4, 8, (8, 4)])
    rows, columns = patch if isinstance(patch, tuple) else (patch, patch)
    image = (rows * dice.randint(2, 4), columns * dice.randint(2, 4))
    act = dice.choice(["gelu", "gelu_tanh", "quick_gelu", "silu", "relu", "hard_swish"])
    class_token = dice.random() < 0.7
    arguments: dict[str, Any] = {
        "img_size": image, "patch_size": patch, "num_heads": heads, "embed_dim": heads * dice.choice([8, 16, 20]),
        "depth": dice.choice([1, 2]), "mlp_ratio": dice.choice([1, 2, 3.5]), "qkv_bias": dice.random() < 0.7,
        "proj_bias": dice.random() < 0.8, "class_token": class_token, "act_layer": act,
        "init_values": dice.choice([None, 0.4]), "no_embed_class": dice.random() < 0.3,
        "global_pool": dice.choice(["token", "avg", "map"] if class_token else ["avg", "map"]),
        "fc_norm": dice.choice([None, True, False]), "num_classes": dice.choice([5, 5, 0]),
        "in_chans": dice.choice([3, 3, 1]), "reg_tokens": dice.choice([0, 0, 3]), "pre_norm": dice.random() < 0.2,
        "qk_norm": dice.random() < 0.2,
    }  # fmt: skip
    named: set[str] = set()
    stated = {"num_heads": heads, "act_layer": act.replace("_", "") if act == "hard_swish" else act}
    if dice.random() < 0.2:
        arguments["norm_layer"] = timm.layers.RmsNorm
    if dice.random() < 0.2:
        arguments["block_fn"], stated["block_fn"] = timm.models.vision_transformer.ResPostBlock, "ResPostBlock"
    if dice.random() < 0.4:
        extra, shown, name = dice.choice(MISSING_IN_TIMM)
        if "global_pool" in extra:
            extra = extra | {"num_classes": 5}
        if extra.get("final_norm") is False:
            extra = extra | {"num_classes": 5, "fc_norm": False}
        arguments, stated, named = arguments | extra, stated | shown, {name}
    if "mlp_layer" not in arguments and dice.random() < 0.2:
        kind = dice.choice(["SwiGLU", "SwiGLUPacked"])
        arguments["mlp_layer"] = getattr(timm.layers, kind)
        stated |= {"mlp_layer": kind} if kind == "SwiGLUPacked" or dice.random() < 0.5 else {}
    if arguments["global_pool"] == "map" and arguments["fc_norm"]:
        named |= {"fc_norm.weight"}
    model = vit(**arguments)
    channels = arguments["in_chans"]
    config = {
        "architecture": "vit_drawn", "num_features": arguments["embed_dim"], "num_classes": arguments["num_classes"],
        "global_pool": arguments["global_pool"], "model_args": stated,
        "pretrained_cfg": {"mean": MEAN[:channels], "std": STD[:channels], "input_size": [channels, *image]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    state = model.state_dict()
    wrapper = dice.choice(["", "module.", "module.backbone.", "_orig_mod."])
    wrapped = {wrapper + name: value for name, value in state.items()}
    if dice.random() < 0.5:
        safetensors.torch.save_file(wrapped, folder / "model.safetensors")
    else:
        key = dice.choice([None, "state_dict", "model", "state_dict_ema"])
        torch.save({key: wrapped} if key else wrapped, folder / "pytorch_model.bin")
    size = None
    if dice.random() < 0.4 and not named:
        size = (rows * dice.randint(1, 5), columns * dice.randint(1, 5))
        model.set_input_size(img_size=size)
    headless = not arguments["num_classes"] and arguments["global_pool"] != "map"
    forward = model.forward_features if headless else model
    return Drawn(f"timm {arguments} {stated}", folder, named, forward, size)


#: Class, config, arguments that only some networks have, and tensors or keys that show what the machine cannot do.
FAMILIES: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("ViTForImageClassification", "ViTConfig", {}, None),
    ("ViTModel", "ViTConfig", {}, None),
    ("DeiTForImageClassification", "DeiTConfig", {}, None),
    ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {}, None),
    ("Dinov2Model", "Dinov2Config", {"layerscale_value": 0.3}, None),
    ("Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2}, None),
    ("ViTMSNForImageClassification", "ViTMSNConfig", {}, None),
    ("IJepaForImageClassification", "IJepaConfig", {}, None),
    ("SiglipForImageClassification", "SiglipConfig", {}, None),
    ("SiglipVisionModel", "SiglipVisionConfig", {"vision_use_head": False}, None),
    ("CLIPVisionModelWithProjection", "CLIPVisionConfig", {}, None),
    ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {}, None),
    ("Dinov2Model", "Dinov2Config", {"use_swiglu_ffn": True}, None),
    ("SiglipVisionModel", "SiglipVisionConfig", {}, None),
    ("Siglip2VisionModel", "Siglip2VisionConfig", {}, "model_type"),
    ("BeitModel", "BeitConfig", {}, "model_type"),
    ("Data2VecVisionModel", "Data2VecVisionConfig", {}, "model_type"),
]
PLAIN = sum(shown is None for *_, shown in FAMILIES)


def draw_transformers(dice: random.Random, folder: Path) -> Drawn:
    kind, config, extra, shown = dice.choice(FAMILIES[: PLAIN if dice.random() < 0.7 else None])
    heads, patch, grid = dice.choice([1, 2, 4]), dice.choice([4, 8]), dice.randint(2, 4)
    named = {shown} if shown else set()
    act = dice.choice(["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "silu", "relu"])
    if dice.random() < 1 / RARE and not extra.get("use_swiglu_ffn"):  # whose activation is SiLU, whatever is said
        act = dice.choice(["mish", "tanh"])
        named.add("activation")
    arguments: dict[str, Any] = {
        "num_attention_heads": heads, "hidden_size": heads * dice.choice([8, 12]), "hidden_act": act,
        "num_hidden_layers": dice.choice([1, 2]), "patch_size": patch, "image_size": patch * grid,
        "layer_norm_eps": dice.choice([1e-12, 1e-6, 1e-5, 1e-2]), "num_labels": dice.choice([2, 7]),
    }  # fmt: skip
    if not config.startswith(("Siglip", "CLIP")):
        arguments["qkv_bias"] = dice.random() < 0.7
    oblong = config in ("ViTConfig", "DeiTConfig") and dice.random() < 0.3
    if oblong:
        arguments["image_size"] = [patch * grid, patch * (grid + 1)]
    arguments |= extra
    if config == "SiglipConfig":
        model = siglip_classifier(**arguments)
    else:
        model = network(kind, config, **arguments)
    how = dice.choice(["whole", "shards", "modules", "modules in state_dict"])
    saved(model, folder, PREPROCESSOR | {"size": {"height": patch * grid, "width": patch * grid}},
          **({"max_shard_size": "6KB"} if how == "shards" else {}))  # fmt: skip
    if how.startswith("modules"):
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        state = model.state_dict()
        torch.save({"state_dict": state} if "state_dict" in how else state, folder / "pytorch_model.bin")
    size = None

    def forward(images: Any, **options: Any) -> Any:
        made = model(images, **options)
        return made.pooler_output if getattr(model, "use_head", False) else made

    if dice.random() < 0.4 and not named and not oblong:  # transformers takes positions for a square
        size = (patch * dice.randint(1, 5), patch * dice.randint(1, 5))
        if "Dinov2" not in kind:
            forward = partial(forward, interpolate_pos_encoding=True)
    return Drawn(f"{kind} {arguments} {how}", folder, named, forward, size)


def check(drawn: Drawn) -> bool:
    """Whether it was imported; an error if it was neither imported right nor refused by name."""
    size = drawn.size and ImageSize(height=drawn.size[0], width=drawn.size[1])
    try:
        imported = load(drawn.folder, overrides=Overrides(image_size=size))
    except HwgenError as error:
        text = error.text()
        first = text.splitlines()[0].replace(str(drawn.folder), "DIR")
        assert any(name in (text if name.startswith("--") else first) for name in drawn.named), (
            f"{drawn.description}\n{text}")
        return False
    assert not drawn.named, f"{drawn.description} was imported"
    channels = imported.model.image.channels
    error = difference(imported, drawn.forward, MEAN[:channels], STD[:channels])
    assert error < 1e-4, f"{drawn.description}: {error}"
    return True
