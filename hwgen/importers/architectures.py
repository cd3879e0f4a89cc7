"""What the name of a timm architecture tells and its state dict does not, as of timm 1.0.31: literal data.

Only networks that the importer takes; a test compares the table with timm.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Names by the number of attention heads.
_HEADS = {
    2: "test_vit test_vit2",
    3: "test_vit4 deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 vit_tiny_patch16_224 vit_tiny_patch16_384",
    4: "vit_wee_patch16_reg1_gap_256 vit_xsmall_patch16_clip_224",
    5: "vit_little_patch16_reg1_gap_256 vit_little_patch16_reg4_gap_256",
    6: """
        deit3_small_patch16_224 deit3_small_patch16_384 deit_small_distilled_patch16_224 deit_small_patch16_224
        flexivit_small vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_small_patch16_224
        vit_small_patch16_36x1_224 vit_small_patch16_384 vit_small_patch32_224 vit_small_patch32_384
        vit_small_patch8_224
    """,
    8: """
        deit3_medium_patch16_224 vit_medium_patch16_clip_224 vit_medium_patch16_gap_240
        vit_medium_patch16_gap_256 vit_medium_patch16_gap_384 vit_medium_patch16_reg1_gap_256
        vit_medium_patch16_reg4_gap_256 vit_medium_patch32_clip_224 vit_mediumd_patch16_reg4_gap_256
        vit_mediumd_patch16_reg4_gap_384
    """,
    10: """
        vit_betwixt_patch16_gap_256 vit_betwixt_patch16_reg1_gap_256 vit_betwixt_patch16_reg4_gap_256
        vit_betwixt_patch16_reg4_gap_384 vit_betwixt_patch32_clip_224
    """,
    12: """
        beit3_base_patch16_224 deit3_base_patch16_224 deit3_base_patch16_384 deit_base_distilled_patch16_224
        deit_base_distilled_patch16_384 deit_base_patch16_224 deit_base_patch16_384 flexivit_base
        vit_base_patch14_dinov2 vit_base_patch14_reg4_dinov2 vit_base_patch16_224 vit_base_patch16_224_miil
        vit_base_patch16_384 vit_base_patch16_clip_224 vit_base_patch16_clip_384
        vit_base_patch16_clip_quickgelu_224 vit_base_patch16_reg4_gap_256 vit_base_patch16_rpn_224
        vit_base_patch16_siglip_224 vit_base_patch16_siglip_256 vit_base_patch16_siglip_384
        vit_base_patch16_siglip_512 vit_base_patch16_siglip_gap_224 vit_base_patch16_siglip_gap_256
        vit_base_patch16_siglip_gap_384 vit_base_patch16_siglip_gap_512 vit_base_patch32_224
        vit_base_patch32_384 vit_base_patch32_clip_224 vit_base_patch32_clip_256 vit_base_patch32_clip_384
        vit_base_patch32_clip_448 vit_base_patch32_clip_quickgelu_224 vit_base_patch32_siglip_256
        vit_base_patch32_siglip_gap_256 vit_base_patch8_224
    """,
    13: "vit_so150m2_patch16_reg1_gap_256 vit_so150m2_patch16_reg1_gap_384 vit_so150m2_patch16_reg1_gap_448",
    14: """
        vit_base_patch16_plus_240 vit_base_patch16_plus_clip_240 vit_base_patch32_plus_256
        vit_so150m_patch16_reg4_gap_256 vit_so150m_patch16_reg4_gap_384 vit_so150m_patch16_reg4_map_256
    """,
    24: "vit_giant_patch14_dinov2 vit_giant_patch14_reg1_tipsv2 vit_giant_patch14_reg4_dinov2",
    16: """
        beit3_giant_patch14_224 beit3_giant_patch14_336 beit3_large_patch16_224 deit3_huge_patch14_224
        deit3_large_patch16_224 deit3_large_patch16_384 eva_large_patch14_196 eva_large_patch14_336
        flexivit_large vit_base_patch16_gap_224 vit_giant_patch14_224 vit_giant_patch14_clip_224
        vit_giant_patch16_gap_224 vit_giantopt_patch16_siglip_256 vit_giantopt_patch16_siglip_384
        vit_giantopt_patch16_siglip_gap_256 vit_giantopt_patch16_siglip_gap_384 vit_gigantic_patch14_224
        vit_gigantic_patch14_clip_224 vit_gigantic_patch14_clip_378 vit_gigantic_patch14_clip_quickgelu_224
        vit_huge_patch14_224 vit_huge_patch14_clip_224 vit_huge_patch14_clip_336 vit_huge_patch14_clip_378
        vit_huge_patch14_clip_quickgelu_224 vit_huge_patch14_clip_quickgelu_378 vit_huge_patch14_gap_224
        vit_huge_patch16_gap_448 vit_intern300m_patch14_448 vit_large_patch14_224 vit_large_patch14_clip_224
        vit_large_patch14_clip_336 vit_large_patch14_clip_quickgelu_224 vit_large_patch14_clip_quickgelu_336
        vit_large_patch14_dinov2 vit_large_patch14_reg4_dinov2 vit_large_patch16_224 vit_large_patch16_384
        vit_large_patch16_siglip_256 vit_large_patch16_siglip_384 vit_large_patch16_siglip_512
        vit_large_patch16_siglip_gap_256 vit_large_patch16_siglip_gap_384 vit_large_patch16_siglip_gap_512
        vit_large_patch32_224 vit_large_patch32_384 vit_so400m_patch14_siglip_224 vit_so400m_patch14_siglip_378
        vit_so400m_patch14_siglip_384 vit_so400m_patch14_siglip_gap_224 vit_so400m_patch14_siglip_gap_378
        vit_so400m_patch14_siglip_gap_384 vit_so400m_patch14_siglip_gap_448 vit_so400m_patch14_siglip_gap_896
        vit_so400m_patch16_siglip_256 vit_so400m_patch16_siglip_384 vit_so400m_patch16_siglip_512
        vit_so400m_patch16_siglip_gap_256 vit_so400m_patch16_siglip_gap_384 vit_so400m_patch16_siglip_gap_512
    """,
}
#: Their GELU is approximated by tanh.
_TANH = """
    vit_base_patch32_siglip_256 vit_base_patch32_siglip_gap_256 vit_giantopt_patch16_siglip_256
    vit_giantopt_patch16_siglip_384 vit_giantopt_patch16_siglip_gap_256 vit_giantopt_patch16_siglip_gap_384
    vit_large_patch16_siglip_512 vit_large_patch16_siglip_gap_512 vit_so400m_patch16_siglip_256
    vit_so400m_patch16_siglip_384 vit_so400m_patch16_siglip_512 vit_so400m_patch16_siglip_gap_256
    vit_so400m_patch16_siglip_gap_384 vit_so400m_patch16_siglip_gap_512
"""
#: In the names of those with quick-GELU, and of CLIP's, whose LayerNorms have an epsilon of 1e-5.
_QUICK, _CLIP = "_quickgelu_", "_clip_"
#: Other networks' LayerNorms have it, too.
_EPS5 = "beit3_base_patch16_224 beit3_giant_patch14_224 beit3_giant_patch14_336 beit3_large_patch16_224"
#: Their MLPs are gated by SiLU, both halves of the first layer in one tensor.
_PACKED = "vit_giant_patch14_dinov2 vit_giant_patch14_reg1_tipsv2 vit_giant_patch14_reg4_dinov2"
#: Their norms come behind attention and MLP, by the names of those in front.
_POST_NORM = "vit_base_patch16_rpn_224"


@dataclass(frozen=True)
class Architecture:
    """Heads, activation, LayerNorm's epsilon, whether the norms come behind attention and MLP, and whether the MLPs are
    gated and the first half of their first layer is activated."""

    heads: int
    activation: str
    eps: float
    post_norm: bool
    packed: bool


def _activation(name: str) -> str:
    if name in _TANH.split():
        return "gelu_tanh"
    return "quick_gelu" if _QUICK in name else "silu" if name in _PACKED.split() else "gelu"


ARCHITECTURES = {
    name: Architecture(
        heads=heads,
        activation=_activation(name),
        eps=1e-5 if name in _EPS5.split() or _CLIP in name else 1e-6,
        post_norm=name in _POST_NORM.split(),
        packed=name in _PACKED.split(),
    )
    for heads, names in _HEADS.items()
    for name in names.split()
}
