"""The original Vision Transformers in JAX, `.npz` of google-research's vision_transformer and big_vision: kernels are
[in, out], those of attention [in, heads, head]; big_vision may stack all blocks in one array.
"""

from __future__ import annotations

import re

import numpy as np

from hwgen.importers.common import HALF, Draft, Imported, in_codes
from hwgen.importers.names import LeftOut, Rule, translated
from hwgen.importers.positions import JAX
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm

SIGNS = (("*embedding/kernel", "*Transformer/encoderblock*"),)
_PREFIX = r"(?:opt/target/|params/img/|params/)?"
_LAYER, _BLOCK = _PREFIX + r"Transformer/encoderblock_(\d+)/", r"blocks.\1."
_POOL = _PREFIX + "MAPHead_0/"
_ATTENTION = _LAYER + r"MultiHeadDotProductAttention_\d/"


def _turned(kernel: np.ndarray) -> np.ndarray:
    return kernel.T


def _inward(kernel: np.ndarray) -> np.ndarray:
    """Of q, k or v: [in, heads, head] to [out, in]."""
    return kernel.reshape(len(kernel), -1).T


def _outward(kernel: np.ndarray) -> np.ndarray:
    """[heads, head, out] to [out, in]."""
    return kernel.reshape(-1, kernel.shape[-1]).T


RULES: tuple[Rule, ...] = (
    (_PREFIX + "cls", "cls_token"),
    (_PREFIX + "embedding/kernel", "patch_embed.proj.weight", lambda kernel: kernel.transpose(3, 2, 0, 1)),
    (_PREFIX + "embedding/bias", "patch_embed.proj.bias"),
    (_PREFIX + "(?:Transformer/posembed_input/)?pos_embedding", "pos_embed"),
    (_ATTENTION + "(q|k|v)[a-z]+/kernel", _BLOCK + r"attn.\2.weight", _inward),
    (_ATTENTION + "(q|k|v)[a-z]+/bias", _BLOCK + r"attn.\2.bias", np.ravel),
    (_ATTENTION + "out/kernel", _BLOCK + "attn.proj.weight", _outward),
    (_ATTENTION + "out/bias", _BLOCK + "attn.proj.bias"),
    (_LAYER + r"MlpBlock_\d/Dense_0/kernel", _BLOCK + "mlp.fc1.weight", _turned),
    (_LAYER + r"MlpBlock_\d/Dense_0/bias", _BLOCK + "mlp.fc1.bias"),
    (_LAYER + r"MlpBlock_\d/Dense_1/kernel", _BLOCK + "mlp.fc2.weight", _turned),
    (_LAYER + r"MlpBlock_\d/Dense_1/bias", _BLOCK + "mlp.fc2.bias"),
    (_LAYER + "LayerNorm_0/scale", _BLOCK + "norm1.weight"),
    (_LAYER + "LayerNorm_0/bias", _BLOCK + "norm1.bias"),
    (_LAYER + "LayerNorm_[12]/scale", _BLOCK + "norm2.weight"),
    (_LAYER + "LayerNorm_[12]/bias", _BLOCK + "norm2.bias"),
    (_PREFIX + "Transformer/encoder_norm/scale", "norm.weight"),
    (_PREFIX + "Transformer/encoder_norm/bias", "norm.bias"),
    (_PREFIX + "head/kernel", "head.weight", _turned),
    (_PREFIX + "head/bias", "head.bias"),
    (_PREFIX + "pre_logits/(.*)", r"pre_logits.\1"),
    (_POOL + "probe", "attn_pool.latent"),
    (_POOL + "MultiHeadDotProductAttention_0/(q|k|v)[a-z]+/kernel", r"attn_pool.\1.weight", _inward),
    (_POOL + "MultiHeadDotProductAttention_0/(q|k|v)[a-z]+/bias", r"attn_pool.\1.bias", np.ravel),
    (_POOL + "MultiHeadDotProductAttention_0/out/kernel", "attn_pool.proj.weight", _outward),
    (_POOL + "MultiHeadDotProductAttention_0/out/bias", "attn_pool.proj.bias"),
    (_POOL + "LayerNorm_0/scale", "attn_pool.norm.weight"),
    (_POOL + "LayerNorm_0/bias", "attn_pool.norm.bias"),
    (_POOL + "MlpBlock_0/Dense_0/kernel", "attn_pool.mlp.fc1.weight", _turned),
    (_POOL + "MlpBlock_0/Dense_0/bias", "attn_pool.mlp.fc1.bias"),
    (_POOL + "MlpBlock_0/Dense_1/kernel", "attn_pool.mlp.fc2.weight", _turned),
    (_POOL + "MlpBlock_0/Dense_1/bias", "attn_pool.mlp.fc2.bias"),
    (_PREFIX + "(conv_root/.*)", r"patch_embed.backbone.\1"),
)
LEFT_OUT: tuple[LeftOut, ...] = (
    ("opt/state/.*", "the optimizer's state"),
    ("params/(?:txt/.*|t|b)", "the text tower"),
)


def import_jax(source: Source, draft: Draft) -> Imported:
    """The network of a JAX archive."""
    source = _unstacked(source)
    draft.resampling = JAX
    for name in source.names("*MultiHeadDotProductAttention_*/query/kernel")[:1]:
        if source.raw(name).ndim == 3:
            draft.assume("heads", source.raw(name).shape[1], f"the shape of {name}")
    draft.assume("activation", "gelu_tanh", "jax.nn.gelu, as in its code (timm has gelu for the same weights)")
    draft.assume("normalize", in_codes(HALF), "as in its code")
    renamed, notes = translated(source, RULES, LEFT_OUT)
    draft.notes += notes
    if "head.weight" in renamed:
        token = "cls_token" in renamed
        draft.assume("pooling", "token" if token else "avg", f"as in its code {'with' if token else 'without'} cls")
    return import_timm(renamed, draft)


def _unstacked(source: Source) -> Source:
    """With a name for each block of a stack."""
    tensors: dict[str, np.ndarray] = {}
    for name in source.names():
        parts = re.fullmatch("(.*Transformer/encoderblock)(/.*)", name)
        if parts is None:
            tensors[name] = source.raw(name)
        else:
            tensors |= {f"{parts[1]}_{index}{parts[2]}": one for index, one in enumerate(source.raw(name))}
    return Source(tensors, source.where)
