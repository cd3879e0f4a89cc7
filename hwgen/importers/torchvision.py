"""torchvision's `VisionTransformer`: `vit_b_16` and its like."""

from __future__ import annotations

from hwgen.importers.common import IMAGENET, Draft, Imported, in_codes
from hwgen.importers.names import Rule, translated
from hwgen.importers.positions import TORCHVISION
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm

SIGNS = (("conv_proj.weight", "encoder.pos_embedding"),)
_LAYER, _BLOCK = r"encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."
RULES: tuple[Rule, ...] = (
    (r"class_token", "cls_token"),
    (r"conv_proj\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (_LAYER + r"ln_([12])\.(\w+)", _BLOCK + r"norm\2.\3"),
    (_LAYER + r"self_attention\.in_proj_(\w+)", _BLOCK + r"attn.qkv.\2"),
    (_LAYER + r"self_attention\.out_proj\.(\w+)", _BLOCK + r"attn.proj.\2"),
    (_LAYER + r"mlp\.(?:0|linear_1)\.(\w+)", _BLOCK + r"mlp.fc1.\2"),
    (_LAYER + r"mlp\.(?:3|linear_2)\.(\w+)", _BLOCK + r"mlp.fc2.\2"),
    (r"encoder\.ln\.(\w+)", r"norm.\1"),
    (r"heads\.head\.(\w+)", r"head.\1"),
    (r"heads\.(pre_logits\.\w+)", r"\1"),
)
#: Heads of its networks, by their width: b, l and h.
HEADS = {768: 12, 1024: 16, 1280: 16}


def import_torchvision(source: Source, draft: Draft) -> Imported:
    """The network of a torchvision `VisionTransformer` state dict."""
    width = source.size("conv_proj.weight", 0)
    draft.resampling = TORCHVISION
    draft.assume("activation", "gelu", "as in all of torchvision's")
    draft.assume("pooling", "token", "as in all of torchvision's")
    if width in HEADS:
        draft.assume("heads", HEADS[width], "as in torchvision's of this width")
    draft.assume("normalize", in_codes(IMAGENET), "ImageNet's, as of all weights of torchvision")
    renamed, notes = translated(source, RULES)
    draft.notes += notes
    return import_timm(renamed, draft)
