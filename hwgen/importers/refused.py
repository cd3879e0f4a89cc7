"""What networks have that the machine has no operator for: the one table of refusals.

Tensors are listed by timm's names, to which every format is translated; the message has the checkpoint's own. Whoever
builds an operator removes its lines here. Tested by tests/importers/test_timm.py.
"""

from __future__ import annotations

from hwgen.common.errors import HwgenError
from hwgen.importers.source import Source

MEND = "this variant is not supported; docs/importing.md lists what is"

ATTENTION_POOLING = "attention pooling with norms or positions of its own"
RELATIVE = "relative positions in the attention's scores"
ROTARY = "rotary positions"
STEM = "a convolutional stem"
PATCH_NORM = "a norm inside the patch embedding"
SUB_NORM = "a norm inside attention or MLP"
TANH_LAYER = "a layer between the last norm and the head"
MAP_NORM = "a norm behind attention pooling"
PREFIX_MEAN = "a mean over class and patch tokens"
PARALLEL = "attention and MLP side by side"
WINDOWS = "attention in windows, and merging of patches"
FRAMES = "tokens of several frames"
ANY_SIZE = "images of any size in one batch (NaFlex), their patches in a row"

#: Patterns of tensors' names, and the operator they need; the first that is there is named.
TENSORS = (
    ("patch_embed.norm*", PATCH_NORM),
    ("patch_embed.backbone.*", STEM),
    ("patch_embed.conv*", STEM),
    ("blocks.*.attn.norm.*", SUB_NORM),
    ("blocks.*.attn.relative_position*", RELATIVE),
    ("blocks.*.attn.rel_pos*", RELATIVE),
    ("rel_pos_bias.*", RELATIVE),
    ("blocks.*.mlp.norm.*", SUB_NORM),
    ("blocks.*.attns.*", PARALLEL),
    ("blocks.*.in_proj.*", PARALLEL),
    ("blocks.*.attn.rope*", ROTARY),
    ("rope*", ROTARY),
    ("attn_pool.[qk]_norm.*", ATTENTION_POOLING),
    ("attn_pool.pos_embed", ATTENTION_POOLING),
    ("pre_logits.*", TANH_LAYER),
)

#: By transformers' `model_type`.
MODEL_TYPES = {
    "beit": RELATIVE, "data2vec-vision": RELATIVE, "layoutlmv3": RELATIVE, "vitdet": RELATIVE,
    "dinov3_vit": ROTARY, "vjepa2": ROTARY,
    **dict.fromkeys(("aimv2", "aimv2_vision_model"), PATCH_NORM),
    "siglip2": ANY_SIZE, "siglip2_vision_model": ANY_SIZE,
    "swin": WINDOWS, "swinv2": WINDOWS, "hiera": WINDOWS, "pvt": WINDOWS, "pvt_v2": WINDOWS, "segformer": WINDOWS,
    "cvt": STEM, "levit": STEM, "mobilevit": STEM, "mobilevitv2": STEM, "vit_hybrid": STEM, "efficientformer": STEM,
    "yolos": "detection tokens", "vivit": FRAMES, "videomae": FRAMES, "timesformer": FRAMES,
}  # fmt: skip

#: By key of timm's `model_args`: the values that are a plain Vision Transformer's, and what others need. None of them
#: shows in the tensors.
ARGUMENTS = {
    "block_fn": (("Block", "ResPostBlock"), "other blocks"),
    "norm_layer": (("layernorm", "LayerNorm", "rmsnorm", "RmsNorm"), "other norms than LayerNorm and RMSNorm"),
    "attn_layer": (("attn", "Attention"), "other attention"),
    "mlp_layer": (("Mlp", "mlp", "SwiGLU", "SwiGLUPacked"), "another MLP than Mlp, SwiGLU, SwiGLUPacked"),
    "pool_include_prefix": ((False,), PREFIX_MEAN),
    "dynamic_img_pad": ((False,), "padded images"),
}


def lacks(where: str, name: str, operator: str, found: str) -> HwgenError:
    """The error for a tensor or a key that needs an operator."""
    return HwgenError(where, name, expected=f"a network without {operator}: the machine has no operator for that",
                      found=found, mend=MEND)  # fmt: skip


def check_tensors(source: Source) -> None:
    """HwgenError if a tensor shows what the machine cannot do."""
    for pattern, operator in TENSORS:
        # Those of a safetensors file come in any order.
        for name in sorted(source.names(pattern), key=lambda name: (name.endswith(".bias"), name)):
            raise lacks(source.where, source.called(name), operator, f"a tensor {list(source.raw(name).shape)}")
