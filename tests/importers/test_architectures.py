"""The table of architectures against timm's own constructors."""

from __future__ import annotations

import torch

from hwgen.importers.architectures import ARCHITECTURES
from tests.importers.timm_models import timm


def test_architectures_are_those_of_timm() -> None:
    activations = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
    for name, known in ARCHITECTURES.items():
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, depth=1)
        block = model.blocks[0]
        assert known.heads == block.attn.num_heads, name
        assert known.activation == activations[type(block.mlp.act).__name__], name
        assert known.packed == (type(block.mlp).__name__ == "GluMlp" and not block.mlp.gate_last), name
        assert known.eps == block.norm1.eps, name
        assert known.post_norm == (type(block).__name__ == "ResPostBlock"), name
