"""vit-pytorch's ViT as of version 0.24.3 (the names, the layout of the patches), with random weights.

The package itself is not among the tests' requirements; its network of this version gives the same outputs.
"""

from __future__ import annotations

import torch

from tests.importers.timm_models import randomize


class _Residual(torch.nn.Module):
    def __init__(self, dim: int, fn: torch.nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = torch.nn.LayerNorm(dim), fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fn(self.norm(x))


class _Attention(torch.nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads, self.dim_head = heads, dim_head
        self.to_qkv = torch.nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = torch.nn.Sequential(torch.nn.Linear(heads * dim_head, dim), torch.nn.Dropout(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, self.dim_head)).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(-1, -2) * self.dim_head**-0.5).softmax(-1)
        return self.to_out((scores @ v).transpose(1, 2).flatten(2))


class _Mlp(torch.nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        drop = torch.nn.Dropout(0.0)
        self.net = torch.nn.Sequential(torch.nn.Linear(dim, hidden), torch.nn.GELU(), drop,
                                       torch.nn.Linear(hidden, dim), drop)  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class _Patches(torch.nn.Module):
    """[row][column][channel] of every patch."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = x.unfold(2, self.size, self.size).unfold(3, self.size, self.size)  # b c h w p1 p2
        return patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


class _Transformer(torch.nn.Module):
    def __init__(self, depth: int, dim: int, heads: int, dim_head: int, hidden: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.ModuleList([_Residual(dim, _Attention(dim, heads, dim_head)), _Residual(dim, _Mlp(dim, hidden))])
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for attention, mlp in self.layers:
            x = mlp(attention(x))
        return x


class ViT(torch.nn.Module):
    """With class-token pooling."""

    def __init__(self, image: int = 32, patch: int = 8, dim: int = 32, depth: int = 2, heads: int = 2,
                 dim_head: int = 24, hidden: int = 64, classes: int = 5) -> None:  # fmt: skip
        super().__init__()
        self.to_patch_embedding = torch.nn.Sequential(_Patches(patch), torch.nn.Linear(3 * patch**2, dim))
        self.pos_embedding = torch.nn.Parameter(torch.randn(1, (image // patch) ** 2 + 1, dim))
        self.cls_token = torch.nn.Parameter(torch.randn(1, 1, dim))
        self.transformer = _Transformer(depth, dim, heads, dim_head, hidden)
        self.mlp_head = torch.nn.Sequential(torch.nn.LayerNorm(dim), torch.nn.Linear(dim, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.to_patch_embedding(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embedding
        return self.mlp_head(self.transformer(x)[:, 0])


def lucidrains(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return randomize(ViT(), seed)
