"""The quantizer's own YAML file: which checkpoint, which images, and the structure the checkpoint does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict
from hwgen.importers.activation import check_activation
from hwgen.importers.common import GateKind, Normalize, Overrides, Positive
from hwgen.network.description import WEIGHTS_FILE, Count, HeadKind, Image, Model, Name, Patch, parse_model
from hwgen.quantize.options import Options


class TaskConfig(Strict):
    """A task of the checkpoint; its number in `headT` and `gateT` is its place in the list."""

    name: Name
    head: HeadKind
    norm: bool


class MoeConfig(Strict):
    """What all mixture-of-experts layers share."""

    top_k: Count
    gate: GateKind


class QuantizeConfig(Strict):
    """`quantize.yaml` of hwgen's own checkpoint. File names are relative to it.

    Hidden sizes, depth and experts come from the checkpoint. `images`: how many to calibrate on; None: all.
    """

    format: Literal["hwgen"] = "hwgen"
    name: Name
    checkpoint: str
    calibration: str
    images: Count | None = None
    options: Options = Options()
    image: Image
    patch: Patch
    normalize: Normalize
    heads: Count
    head_dim: Count
    class_token: bool
    distillation_token: bool = False
    post_norm: bool = False
    layer_norm_eps: Positive
    activation: str = "gelu"
    moe: MoeConfig | None = None
    tasks: Annotated[list[TaskConfig], Field(min_length=1)]


class ImportConfig(Overrides):
    """`quantize.yaml` of a checkpoint of another format: the structure comes from it, and overrides where need be."""

    format: Literal["auto", "timm", "huggingface", "torchvision", "jax", "lucidrains", "dino", "dinov2", "ibot", "mae",
                    "mocov3", "m3vit", "edge-moe", "onnx"]  # fmt: skip
    checkpoint: str
    calibration: str
    images: Count | None = None
    options: Options = Options()


def structure(config: QuantizeConfig, tensors: Mapping[str, np.ndarray], where: str, checkpoint: str) -> Model:
    """The structure of the description, sizes read off the checkpoint; `where` and `checkpoint` name the files."""
    for key in ("mean", "std"):
        found = getattr(config.normalize, key)
        if len(found) != config.image.channels:
            raise HwgenError(where, f"normalize.{key}", found=str(found),
                             expected=f"{config.image.channels} number(s), one per image channel")  # fmt: skip

    def rows(name: str) -> int:
        if name not in tensors or tensors[name].ndim != 2:
            found = f"shape {list(tensors[name].shape)}" if name in tensors else "no such tensor"
            raise HwgenError(checkpoint, name, expected="a matrix [out, in]", found=found,
                             mend="see hwgen/network/floatmodel.py for the layout")  # fmt: skip
        return int(tensors[name].shape[0])

    activation = check_activation(config.activation, where)
    layers: list[dict[str, Any]] = []
    while f"l{len(layers)}.qkv.w" in tensors or not layers:
        name = f"l{len(layers)}"
        if f"{name}.gate0" not in tensors:
            layers.append({"mlp": {"kind": "dense", "hidden": rows(f"{name}.fc1.w"), "activation": activation,
                                   "gated": f"{name}.up.w" in tensors}})  # fmt: skip
            continue
        if config.moe is None:
            raise HwgenError(where, "moe", expected=f"`moe`, as the checkpoint has {name}.gate0", found="no such key",
                             mend="add `moe: {top_k: 2, gate: softmax_topk}`")  # fmt: skip
        mlp = {"kind": "moe", "experts": rows(f"{name}.gate0"), "hidden": rows(f"{name}.e0.fc1.w"),
               "activation": activation}  # fmt: skip
        layers.append({"mlp": {**mlp, **config.moe.model_dump()}})
    tasks = [task.model_dump() for task in config.tasks]
    for number, one in enumerate(tasks):
        if one["head"] == "map":
            one["mlp"] = {"kind": "dense", "hidden": rows(f"map{number}.fc1.w"), "activation": activation}
        if one["head"] not in ("none", "map") or (one["head"] == "map" and f"head{number}.w" in tensors):
            one["outputs"] = rows(f"head{number}.w")
    shared = config.model_dump(include={"name", "image", "patch", "heads", "head_dim", "class_token"})
    for key in ("distillation_token", "post_norm"):
        if getattr(config, key):
            shared[key] = True
    if "reg" in tensors:
        shared["register_tokens"] = rows("reg")
    if "pre.g" in tensors:
        shared["norm_pre"] = True
    if "l0.qn.g" in tensors:
        shared["qk_norm"] = True
    if "l0.n1.b" not in tensors:
        shared["rms_norm"] = True
    constant = {"format": "hwgen-model", "version": 2, "weights": WEIGHTS_FILE, "residual_fraction_bits": 0}
    return parse_model({**constant, **shared, "dim": rows("embed.w"), "layers": layers, "tasks": tasks}, where)
