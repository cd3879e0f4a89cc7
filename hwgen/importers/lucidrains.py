"""`ViT` of lucidrains' vit-pytorch. Its newer versions have norms inside the patch embedding, which are refused."""

from __future__ import annotations

import re

import numpy as np

from hwgen.importers.common import Draft, Imported
from hwgen.importers.hwgen import square_patch
from hwgen.importers.names import Rule, translated
from hwgen.importers.refused import PREFIX_MEAN, lacks
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm

SIGNS = (("to_patch_embedding.1.weight", "transformer.layers.0.0.*"),)
_LINEAR = "to_patch_embedding.1.weight"
_ATTENTION, _MLP, _BLOCK = r"transformer\.layers\.(\d+)\.0\.", r"transformer\.layers\.(\d+)\.1\.", r"blocks.\1."
RULES: tuple[Rule, ...] = (
    (r"pos_embedding", "pos_embed", lambda tensor: tensor.reshape(1, -1, tensor.shape[-1])),
    (r"cls_token", "cls_token", lambda tensor: tensor.reshape(1, 1, -1)),
    (r"to_patch_embedding\.1\.(\w+)", r"patch_embed.proj.\1"),
    (_ATTENTION + r"norm\.(\w+)", _BLOCK + r"norm1.\2"),
    (_ATTENTION + r"fn\.to_qkv\.(\w+)", _BLOCK + r"attn.qkv.\2"),
    (_ATTENTION + r"fn\.to_out\.0\.(\w+)", _BLOCK + r"attn.proj.\2"),
    (_MLP + r"norm\.(\w+)", _BLOCK + r"norm2.\2"),
    (_MLP + r"fn\.net\.0\.(\w+)", _BLOCK + r"mlp.fc1.\2"),
    (_MLP + r"fn\.net\.3\.(\w+)", _BLOCK + r"mlp.fc2.\2"),
    (r"mlp_head\.0\.(\w+)", r"norm.\1"),
    (r"mlp_head\.1\.(\w+)", r"head.\1"),
)
#: Of the versions with a norm of the pixels in front of the linear layer and one behind it.
NORMS: tuple[Rule, ...] = ((r"to_patch_embedding\.([13]\.\w+)", r"patch_embed.norm.\1"),)
EPS = 1e-5


def import_lucidrains(source: Source, draft: Draft) -> Imported:
    """The network of a vit-pytorch `ViT` state dict."""
    normed = bool(source.names("to_patch_embedding.3.weight"))
    renamed, notes = translated(source, NORMS + RULES if normed else _patches(source) + RULES)
    draft.notes += notes
    draft.assume("activation", "gelu", "as in all of vit-pytorch's")
    draft.assume("layer_norm_eps", EPS, "PyTorch's default, as in all of vit-pytorch's")
    if draft.overrides.pooling == "avg" and "cls_token" in renamed:
        raise lacks(source.where, "pooling", PREFIX_MEAN, "'avg', which vit-pytorch takes over all tokens")
    return import_timm(renamed, draft)


def _patches(source: Source) -> tuple[Rule, ...]:
    """What makes a convolution of the linear layer, whose inputs are [row][column][channel]."""
    (rows, columns), channels = square_patch(source, _LINEAR)

    def turn(weight: np.ndarray) -> np.ndarray:
        return weight.reshape(-1, rows, columns, channels).transpose(0, 3, 1, 2)

    return ((re.escape(_LINEAR), "patch_embed.proj.weight", turn),)
