"""Files of the networks' own repositories whose names are timm's but for what training needs: DINO, DINOv2, MAE,
MoCo-v3, iBOT. What all networks of a repository share is taken from its code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwgen.importers import positions
from hwgen.importers.common import IMAGENET, Draft, Imported, in_codes
from hwgen.importers.names import LeftOut, translated
from hwgen.importers.names import Rule as NameRule
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm

#: The teacher's network if a file has teacher and student; blocks in chunks count on from chunk to chunk.
_NETWORK = r"(?:(?:teacher|base_encoder)\.)?(?:backbone\.)?"
_RULES: tuple[NameRule, ...] = (
    (_NETWORK + r"blocks\.(?:\d+\.)?(\d+)\.mlp\.w12\.(.*)", r"blocks.\1.mlp.fc1.\2"),  # SwiGLU
    (_NETWORK + r"blocks\.(?:\d+\.)?(\d+)\.mlp\.w3\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (_NETWORK + r"blocks\.\d+\.(\d+)\.(.*)", r"blocks.\1.\2"),
    (_NETWORK + "register_tokens", "reg_token"),
    (_NETWORK + r"linear_head\.(\w+)", r"head.\1"),
    (_NETWORK + r"((?:blocks|patch_embed|norm|fc_norm|head)\..*|cls_token|pos_embed)", r"\1"),
)
_TRAINING: tuple[LeftOut, ...] = (
    (_NETWORK + r"(?:mask_token|masked_embed)", "the embedding of masked patches"),
    (r"student\..*", "the student"),
    (r"(?:teacher\.)?(?:dino_head|ibot_head)\..*|(?:dino_loss|ibot_patch_loss)\..*", "the heads of the training"),
    (r"(?:teacher\.)?head\.(?:mlp|last_layer)\d*\..*", "the heads of the training"),
)


@dataclass(frozen=True)
class Repository:
    """Networks of one repository.

    signs:      by which its files are known, unless they are as timm's
    heads:      by width, where they are not 64 wide
    left_out:   besides what all of them leave out
    resampling: of positions
    """

    name: str
    signs: tuple[tuple[str, ...], ...]
    heads: dict[int, int] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    resampling: positions.Rule = positions.DINO

    def load(self, source: Source, draft: Draft) -> Imported:
        """The network of one of its files."""
        renamed, notes = translated(source, _RULES, self.left_out + _TRAINING)
        draft.notes += notes
        draft.resampling = self.resampling.with_registers() if "reg_token" in renamed else self.resampling
        width = renamed.size("patch_embed.proj.weight", 0)
        heads = self.heads.get(width, width // 64)
        draft.assume("heads", heads, f"as in {self.name}'s code for this width")
        gated = bool(source.names("*.mlp.w12.weight"))
        draft.assume("activation", "silu" if gated else "gelu", f"as in {self.name}'s code")
        if gated:
            draft.assume("activated", "first", f"as in {self.name}'s code")
        draft.assume("normalize", in_codes(IMAGENET), f"ImageNet's, as in {self.name}'s code")
        if "head.weight" in renamed:
            mean = "fc_norm.weight" in renamed
            why = f"as in {self.name}'s code {'with' if mean else 'without'} fc_norm"
            draft.assume("pooling", "avg" if mean else "token", why)
        return import_timm(renamed, draft)


REPOSITORIES = {
    "mae": Repository(
        "MAE",
        signs=(("decoder_pos_embed", "patch_embed.proj.weight"),),
        heads={1280: 16},
        left_out=((r"decoder_.*|mask_token", "the decoder"),),
        resampling=positions.MAE,
    ),
    "mocov3": Repository(
        "MoCo-v3",
        signs=(("base_encoder.patch_embed.proj.weight",),),
        heads={384: 12},
        left_out=(
            (r"momentum_encoder\..*", "the momentum encoder"),
            (r"predictor\..*|base_encoder\.head\..*", "the heads of the training"),
        ),
        resampling=replace(positions.TIMM, who="timm, on whose code MoCo-v3 builds,"),
    ),
    "ibot": Repository("iBOT", signs=(("masked_embed",), ("backbone.masked_embed",))),
    "dinov2": Repository(
        "DINOv2",
        signs=(
            ("teacher.backbone.patch_embed.proj.weight",), ("mask_token", "patch_embed.proj.weight"),
            ("register_tokens", "patch_embed.proj.weight"), ("blocks.*.*.attn.qkv.weight",),
        ),
    ),
    "dino": Repository("DINO", signs=(("head.last_layer.*", "patch_embed.proj.weight"),)),
}  # fmt: skip
