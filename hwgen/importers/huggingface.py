"""Vision Transformers of Hugging Face's transformers: ViT, DeiT, DINOv2, ViT-MAE's encoder, ViT-MSN, I-JEPA, the image
towers of CLIP and SigLIP. Names of files that transformers 4 and 5 save, and those of its modules.
"""

from __future__ import annotations

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.beside_transformers import DEFAULTS
from hwgen.importers.common import Draft, Imported
from hwgen.importers.names import LeftOut, Rule, translated
from hwgen.importers.positions import TRANSFORMERS
from hwgen.importers.refused import MEND
from hwgen.importers.source import Source
from hwgen.importers.stated import CONFIG
from hwgen.importers.timm import import_timm

SIGNS = (("*embeddings.patch_embeddings.projection.weight",), ("*embeddings.patch_embedding.weight",))
#: What a network with a head calls the network without one: `vit.`, `dinov2.`, `vision_model.` and so on.
_BASE = r"(?:\w+\.)*?"
_EMBEDDINGS, _LAYER = _BASE + r"embeddings\.", _BASE + r"(?:encoder\.)?layers?\.(\d+)\."
_BLOCK = r"blocks.\1."
_POOLING = _BASE + r"head\.(?:probe|attention|layernorm|mlp)\b.*"
RULES: tuple[Rule, ...] = (
    (_EMBEDDINGS + "cls_token", "cls_token"),
    (_EMBEDDINGS + "class_embedding", "cls_token", lambda tensor: tensor[None, None]),
    (_EMBEDDINGS + "distillation_token", "dist_token"),
    (_EMBEDDINGS + "register_tokens", "reg_token"),
    (_EMBEDDINGS + "position_embeddings", "pos_embed"),
    (_EMBEDDINGS + r"position_embedding\.weight", "pos_embed", lambda tensor: tensor[None]),
    (_EMBEDDINGS + r"(?:patch_embeddings\.projection|patch_embedding)\.(\w+)", r"patch_embed.proj.\1"),
    (_BASE + r"pre_layrnorm\.(\w+)", r"norm_pre.\1"),
    (_LAYER + r"attention\.attention\.([qkv])[a-z]+\.(\w+)", _BLOCK + r"attn.\2.\3"),
    (_LAYER + r"(?:attention|self_attn)\.([qkv])_proj\.(\w+)", _BLOCK + r"attn.\2.\3"),
    (_LAYER + r"(?:attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\.(\w+)", _BLOCK + r"attn.proj.\2"),
    (_LAYER + r"(?:layernorm_before|norm1|layer_norm1)\.(\w+)", _BLOCK + r"norm1.\2"),
    (_LAYER + r"(?:layernorm_after|norm2|layer_norm2)\.(\w+)", _BLOCK + r"norm2.\2"),
    (_LAYER + r"(?:intermediate\.dense|mlp\.fc1)\.(\w+)", _BLOCK + r"mlp.fc1.\2"),
    (_LAYER + r"(?:output\.dense|mlp\.fc2)\.(\w+)", _BLOCK + r"mlp.fc2.\2"),
    (_LAYER + r"mlp\.weights_in\.(\w+)", _BLOCK + r"mlp.fc1.\2"),  # gate, then up
    (_LAYER + r"mlp\.gate_proj\.(\w+)", _BLOCK + r"mlp.fc1_g.\2"),
    (_LAYER + r"mlp\.up_proj\.(\w+)", _BLOCK + r"mlp.fc1_x.\2"),
    (_LAYER + r"mlp\.(?:weights_out|down_proj)\.(\w+)", _BLOCK + r"mlp.fc2.\2"),
    (_LAYER + r"layer_scale([12])\.lambda1", _BLOCK + r"ls\2.gamma"),
    (_LAYER + r"(attention\.attention\.relative_position_bias.*)", _BLOCK + r"attn.relative_position.\2"),
    (_BASE + r"head\.probe", "attn_pool.latent"),
    (_BASE + r"head\.attention\.in_proj_(\w+)", r"attn_pool.in_proj.\1"),
    (_BASE + r"head\.attention\.out_proj\.(\w+)", r"attn_pool.proj.\1"),
    (_BASE + r"head\.layernorm\.(\w+)", r"attn_pool.norm.\1"),
    (_BASE + r"head\.(mlp\.fc[12]\.\w+)", r"attn_pool.\1"),
    (_BASE + r"(?:layernorm|post_layernorm)\.(\w+)", r"norm.\1"),
    (r"(?:classifier|cls_classifier)\.(\w+)", r"head.\1"),
    (r"distillation_classifier\.(\w+)", r"head_dist.\1"),
    (r"visual_projection\.(\w+)", r"head.\1"),
)
LEFT_OUT: tuple[LeftOut, ...] = (
    (_BASE + r"pooler\..*", "the pooler, a tanh layer behind the class token,"),
    (_EMBEDDINGS + "mask_token", "mask_token"),
    (_EMBEDDINGS + "position_ids", "position_ids"),
    (r"decoder\..*", "the decoder"),
    (r"text_model\..*|text_projection\..*|logit_scale|logit_bias", "the text tower"),
)
#: SigLIP's classifier reads the mean of the patches, though its files have the attention pooling as well.
UNUSED: LeftOut = (_POOLING, "the attention pooling, which the classifier does not read,")


def import_huggingface(source: Source, draft: Draft) -> Imported:
    """The network of a file of transformers."""
    kind = draft.beside.model_type
    if kind is not None and kind not in DEFAULTS:
        raise HwgenError(str(draft.beside.folder / CONFIG), "model_type", expected="one of " + ", ".join(DEFAULTS),
                         found=repr(kind), mend=MEND)  # fmt: skip
    unused = (UNUSED,) if "classifier.weight" in source else ()
    renamed, notes = translated(source, RULES, LEFT_OUT + unused)
    draft.notes += notes
    if source.names("*mlp.weights_in.weight"):
        draft.assume("activated", "first", "as in transformers' code")
    draft.resampling = TRANSFORMERS.with_registers() if "reg_token" in renamed else TRANSFORMERS
    if "head.weight" in renamed and renamed.size("head.weight", 1) == renamed.size("patch_embed.proj.weight", 0):
        where = "the patches, as there is no class token" if "cls_token" not in renamed else "the class token"
        draft.assume("pooling", "token" if "cls_token" in renamed else "avg", f"the head reads {where}")
    return import_timm(_apart(renamed), draft)


def _apart(source: Source) -> Source:
    """With q, and k and v, of attention pooling apart, as timm has them."""
    tensors: dict[str, np.ndarray] = {}
    called: dict[str, str] = {}
    for name in source.names():
        place, _, kind = name.rpartition(".")
        parts = ["attn_pool.q", "attn_pool.kv"] if place == "attn_pool.in_proj" else [place]
        values = source.raw(name)
        for part, piece in zip(parts, np.split(values, [len(values) // 3]) if len(parts) > 1 else [values]):
            new = f"{part}.{kind}" if part else kind
            tensors[new], called[new] = piece, source.called(name)
    return Source(tensors, source.where, called)
