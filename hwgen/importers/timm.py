"""Vision Transformers of timm: plain ViT and DeiT, distilled or not, with LayerScale, class token or mean pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.common import HALF, IMAGENET, Draft, Imported
from hwgen.importers.refused import MAP_NORM, check_tensors, lacks
from hwgen.importers.source import ANY, Source

KIND = "a plain Vision Transformer"
#: The tensor that an RMSNorm does not have, of the first norm.
RMS_NORM = "blocks.0.norm1.bias"
#: What timm's `global_pool` may be.
POOLINGS = ("token", "avg")
#: Heads of most of timm's networks, by their width.
USUAL_HEADS = {192: 3, 384: 6, 512: 8, 640: 10, 768: 12, 896: 14, 1024: 16, 1152: 16, 1280: 16}
#: timm's two usual pairs of mean and standard deviation, for the question.
USUAL_PAIRS = " (in timm {} by {}, or {} by {})".format(
    *(",".join(f"{value:g}" for value in values) for pair in (HALF, IMAGENET) for values in pair)
)


def import_timm(source: Source, draft: Draft) -> Imported:
    """The network of a timm `VisionTransformer` or `VisionTransformerDistilled` state dict, or of one translated."""
    check_tensors(source)
    draft.rms_norm = RMS_NORM not in source
    if draft.rms_norm:
        draft.warnings.append("norms without a bias: taken to be RMSNorms; if they are LayerNorms save zeros as biases")
    if draft.overrides.post_norm and "blocks.0.ls1.gamma" in source:
        raise HwgenError(source.where, source.called("blocks.0.ls1.gamma"), expected="no LayerScale with norms behind "
                         "attention and MLP, as in timm's ResPostBlock", found="one",
                         mend=draft.stated("post_norm", "--no-post-norm"))  # fmt: skip
    prefix = embedding(source, draft)
    layers: list[dict[str, Any]] = []
    while source.names(f"blocks.{len(layers)}.*") or not layers:
        index = len(layers)
        attention(source, draft, index)
        layers.append({"mlp": dense_mlp(source, draft, index)})
    tasks = draft.tasks(_heads(source, draft))
    source.finish(KIND)
    return finish(draft, prefix, layers, tasks, draft.activation())


def embedding(source: Source, draft: Draft) -> int:
    """Patch embedding, class, distillation and register tokens, positions; returns the number of tokens before the
    patches."""
    kernel = source.take("patch_embed.proj.weight", ANY, ANY, ANY, ANY)
    dim = len(kernel)
    draft.beside.check_width(dim, source.where)
    draft.conv(kernel, source.take_or_zeros("patch_embed.proj.bias", dim))
    if "norm_pre.weight" in source:
        take_norm(source, draft, "pre", "norm_pre")
    prefix = 0
    for name, token in (("cls", "cls_token"), ("dist", "dist_token"), ("reg", "reg_token")):
        if token in source:
            draft.tensors[name] = source.take(token, 1, ANY if name == "reg" else 1, dim)[0]
            prefix += len(draft.tensors[name])
    position = source.take("pos_embed", 1, ANY, dim)[0]
    counted = _counted(draft, len(position), prefix)
    if counted < prefix:
        draft.notes.append(
            "no position embedding of the register tokens, as in DINOv2's own code" if counted else
            "no position embedding of the tokens before the patches (no_embed_class)"
        )  # fmt: skip
        position = np.insert(position, [counted] * (prefix - counted), 0, axis=0)
    draft.tensors["pos"] = draft.positions(position, prefix)
    return prefix


def _counted(draft: Draft, rows: int, prefix: int) -> int:
    """How many of the tokens before the patches have a row of the position embedding: all, those that are no registers,
    as in DINOv2, or none, as in DeiT III."""
    layouts = (prefix, prefix - len(draft.tensors.get("reg", ())), 0)
    for size in (draft.beside.values.get("image_size"), draft.asked_size):
        patches = size and (size.height // draft.patch[0]) * (size.width // draft.patch[1])
        if patches and rows - patches in layouts:
            return rows - int(patches)
    return next((count for count in layouts if _square(rows - count)), prefix)


def _square(number: int) -> bool:
    return number >= 0 and math.isqrt(number) ** 2 == number


def attention(source: Source, draft: Draft, index: int) -> None:
    """Both norms and the attention of a block; LayerScale is folded into the projection."""
    block, dim = f"blocks.{index}", draft.dim
    width = source.size(f"{block}.attn.proj.weight", 1)
    draft.linear(f"l{index}.qkv", source.take(f"{block}.attn.qkv.weight", 3 * width, dim),
                 source.take_or_zeros(f"{block}.attn.qkv.bias", 3 * width))  # fmt: skip
    _scaled(source, draft, f"l{index}.proj", f"{block}.attn.proj", f"{block}.ls1.gamma")
    for part, norm in (("n1", "norm1"), ("n2", "norm2")):
        take_norm(source, draft, f"l{index}.{part}", f"{block}.{norm}")
    for part in "qk" if f"{block}.attn.q_norm.weight" in source else "":
        norm = f"{block}.attn.{part}_norm"
        take_norm(source, draft, f"l{index}.{part}n", norm, source.size(f"{norm}.weight", 0))


def dense_mlp(source: Source, draft: Draft, index: int) -> dict[str, Any]:
    """The MLP of a block with its LayerScale, and its entry in the description."""
    block, dim = f"blocks.{index}", draft.dim
    hidden = source.size(f"{block}.mlp.fc2.weight", 1)
    entry: dict[str, Any] = {"kind": "dense", "hidden": hidden}
    first = f"{block}.mlp.fc1"
    if f"{first}_g.weight" in source:
        entry["gated"] = True
        for ours, theirs in (("fc1", f"{first}_g"), ("up", f"{first}_x")):
            draft.linear(f"l{index}.{ours}", source.take(f"{theirs}.weight", hidden, dim),
                         source.take_or_zeros(f"{theirs}.bias", hidden))  # fmt: skip
    elif f"{first}.weight" in source and source.size(f"{first}.weight", 0) == 2 * hidden:
        entry["gated"] = True
        weights = np.split(source.take(f"{first}.weight", 2 * hidden, dim), 2)
        biases = np.split(source.take_or_zeros(f"{first}.bias", 2 * hidden), 2)
        order = ("up", "fc1") if draft.activated_half() == "last" else ("fc1", "up")
        for ours, weight, bias in zip(order, weights, biases, strict=True):
            draft.linear(f"l{index}.{ours}", weight, bias)
    else:
        draft.linear(f"l{index}.fc1", source.take(f"{first}.weight", hidden, dim),
                     source.take_or_zeros(f"{first}.bias", hidden))  # fmt: skip
    _scaled(source, draft, f"l{index}.fc2", f"{block}.mlp.fc2", f"{block}.ls2.gamma")
    return entry


def _scaled(source: Source, draft: Draft, name: str, linear: str, gamma: str) -> None:
    """A linear layer [dim, any] whose outputs are multiplied by `gamma`, if there is one."""
    dim = draft.dim
    weight, bias = source.take(f"{linear}.weight", dim, ANY), source.take_or_zeros(f"{linear}.bias", dim)
    if gamma in source:
        scale = source.take(gamma, dim)
        weight, bias = weight * scale[:, None], bias * scale
    draft.linear(name, weight, bias)


def take_norm(source: Source, draft: Draft, name: str, norm: str, width: int | None = None) -> None:
    """A norm of tokens, or of so many channels: LayerNorm, or without a bias RMSNorm, the same for all."""
    width, bias = width or draft.dim, f"{norm}.bias"
    gamma, rms = source.take(f"{norm}.weight", width), draft.rms_norm
    if (bias not in source) != rms:
        first, found, mend = (
            ("RMSNorm, without a bias", "a tensor (LayerNorm, with one)", "") if rms else
            ("LayerNorm, with one", "no such tensor (RMSNorm, without a bias)",
             "if it is a LayerNorm without bias, save zeros by this name")
        )  # fmt: skip
        raise HwgenError(source.where, bias, expected=f"what the first norm is ({first})", found=found, mend=mend)
    draft.norm(name, gamma, None if rms else source.take(bias, width))


def _pooled_head(draft: Draft, class_token: bool, fc_norm: bool) -> str:
    """The kind of head by timm's `global_pool`; `fc_norm`: the norm comes behind the pooling, not in front of it."""
    choices, pooling = draft.overrides.tasks, draft.overrides.pooling
    if choices and choices[0].head is not None:
        return choices[0].head
    if pooling is None:
        option = "--pooling token` or `--pooling avg" if class_token else "--pooling avg"
        draft.missing.append((option, "what the head reads (global_pool)"))
        return "mean"
    allowed = POOLINGS if class_token else POOLINGS[1:]
    if pooling not in allowed:
        mend = "" if pooling in POOLINGS else "other poolings, as max and avgmax, are not supported"
        raise HwgenError(draft.where, "pooling", expected=" or ".join(allowed), found=repr(pooling),
                         mend=draft.stated("pooling", "--pooling") or mend)  # fmt: skip
    return "class_token" if pooling == "token" else "mean_norm" if fc_norm else "mean"


def _attention_pool(source: Source, draft: Draft) -> dict[str, Any]:
    """timm's AttentionPoolLatent with one latent, and the head behind it, if there is one."""
    dim, name = draft.dim, "attn_pool"
    query = source.take(f"{name}.latent", 1, 1, dim)[0, 0]
    if f"{name}.q.weight" in source:
        query = source.take(f"{name}.q.weight", dim, dim) @ query + source.take_or_zeros(f"{name}.q.bias", dim)
    draft.tensors["map0.q"] = query
    for ours, theirs, outputs in (("kv", "kv", 2 * dim), ("proj", "proj", dim), ("fc1", "mlp.fc1", ANY),
                                  ("fc2", "mlp.fc2", dim)):  # fmt: skip
        weight = source.take(f"{name}.{theirs}.weight", outputs, ANY)
        draft.linear(f"map0.{ours}", weight, source.take_or_zeros(f"{name}.{theirs}.bias", len(weight)))
    take_norm(source, draft, "map0.n", f"{name}.norm")
    task = {"name": "classify", "head": "map", "norm": True,
            "mlp": {"kind": "dense", "hidden": len(draft.tensors["map0.fc1.w"])}}  # fmt: skip
    if "head.weight" in source:
        weight = source.take("head.weight", ANY, dim)
        draft.linear("head0", weight, source.take_or_zeros("head.bias", len(weight)))
        return task | {"outputs": len(weight)}
    draft.notes.append("no head: what attention pooling makes of the tokens is the output")
    return task | {"name": "features"}


def _heads(source: Source, draft: Draft) -> list[dict[str, Any]]:
    """Final norm and heads: the class token's, the mean's, both of a distilled DeiT, or none."""
    pooled = "fc_norm.weight" in source
    if pooled and "attn_pool.latent" in source:
        raise lacks(source.where, source.called("fc_norm.weight"), MAP_NORM, "a norm, as with fc_norm=True")
    if pooled or "norm.weight" in source or "head.weight" in source:
        take_norm(source, draft, "nf", "fc_norm" if pooled else "norm")
    if "attn_pool.latent" in source:
        return [_attention_pool(source, draft)]
    distilled, class_token = "dist" in draft.tensors, "cls" in draft.tensors
    if "head.weight" in source and source.size("head.weight", 1) == 2 * draft.dim and class_token and not distilled:
        return _token_and_mean(source, draft)
    single = not distilled and "head.weight" in source
    heads = [("classify", "head", _pooled_head(draft, class_token, pooled) if single else "class_token")]
    if distilled:
        heads.append(("distill", "head_dist", "distillation_token"))
        if "head.weight" in source and "head_dist.weight" in source:
            draft.notes.append("distilled: the prediction is the mean of both tasks' logits")
    tasks: list[dict[str, Any]] = []
    for number, (name, layer, head) in enumerate(heads):
        if f"{layer}.weight" in source:
            weight = source.take(f"{layer}.weight", ANY, draft.dim)
            draft.linear(f"head{number}", weight, source.take_or_zeros(f"{layer}.bias", len(weight)))
            draft.beside.check_classes(len(weight), draft.warnings)
            tasks.append({"name": name, "head": head, "outputs": len(weight), "norm": True})
    if tasks:
        return tasks
    draft.notes.append("no head: the tokens behind the last block are the output" + (
        "; the mean over the patches and fc_norm stay to be done" if pooled else ", after the final norm"
    ))  # fmt: skip
    if pooled:
        for part in "gb":
            draft.tensors.pop(f"nf.{part}", None)
    return [{"name": "features", "head": "none", "norm": "nf.g" in draft.tensors}]


def _token_and_mean(source: Source, draft: Draft) -> list[dict[str, Any]]:
    """DINOv2's head of class token and mean of the patches, side by side: a task of each, whose sum it is."""
    weight = source.take("head.weight", ANY, 2 * draft.dim)
    bias = source.take_or_zeros("head.bias", len(weight))
    draft.beside.check_classes(len(weight), draft.warnings)
    draft.linear("head0", weight[:, : draft.dim].copy(), bias)
    draft.linear("head1", weight[:, draft.dim :].copy(), np.zeros_like(bias))
    draft.notes.append("a head of class token and mean of the patches: the prediction is the sum of both tasks' logits")
    return [
        {"name": name, "head": head, "outputs": len(weight), "norm": True}
        for name, head in (("classify", "class_token"), ("classify_mean", "mean"))
    ]


def finish(
    draft: Draft, prefix: int, layers: list[dict[str, Any]], tasks: list[dict[str, Any]], activation: str
) -> Imported:
    """The network, with what its state dict does not tell."""
    width = draft.tensors["l0.proj.w"].shape[1]
    usual = USUAL_HEADS.get(width)
    return draft.finish(
        image=draft.image_size(len(draft.tensors["pos"]) - prefix),
        heads=draft.heads(width, hint=f" ({usual} in most of timm's)" if usual else ""),
        normalize=draft.normalize(draft.channels, hint=USUAL_PAIRS if draft.channels == 3 else ""),
        activation=activation,
        layers=layers,
        tasks=tasks,
    )
