"""Resampled position embeddings against the libraries' own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwgen.importers.positions import DINO, JAX, TIMM, TORCHVISION, TRANSFORMERS, resample
from tests.importers.timm_models import timm

SIZES = [
    ((14, 14), (24, 24)), ((14, 14), (7, 7)), ((16, 16), (16, 20)), ((5, 9), (8, 3)), ((4, 4), (1, 1)),
    ((1, 1), (3, 2)),
]  # fmt: skip


def grid(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((*size, 6)).astype(np.float32)


def interpolated(values: np.ndarray, **options: object) -> np.ndarray:
    moved = torch.tensor(values).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(moved, **options)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_as_timm_does(old: tuple[int, int], new: tuple[int, int]) -> None:
    values = grid(old)
    flat = torch.tensor(values).reshape(1, -1, 6)
    wanted = timm.layers.resample_abs_pos_embed(flat, list(new), list(old), num_prefix_tokens=0)
    np.testing.assert_allclose(resample(values, new, TIMM), wanted[0].reshape(*new, 6).numpy(), atol=1e-5)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_as_transformers_torchvision_and_dino_do(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Their calls of interpolate; test_huggingface.py, test_torchvision.py and test_official.py have whole networks."""
    values = grid(old)
    wanted = interpolated(values, size=new, mode="bicubic", align_corners=False)
    np.testing.assert_allclose(resample(values, new, TRANSFORMERS), wanted, atol=1e-5)
    wanted = interpolated(values, size=new, mode="bicubic", align_corners=True)
    np.testing.assert_allclose(resample(values, new, TORCHVISION), wanted, atol=1e-5)
    scales = tuple((after + 0.1) / before for before, after in zip(old, new))
    wanted = interpolated(values, scale_factor=scales, mode="bicubic", align_corners=False)
    np.testing.assert_allclose(resample(values, new, DINO), wanted, atol=1e-5)
    wanted = interpolated(values, size=new, mode="bilinear", align_corners=True)  # scipy.ndimage.zoom's order 1
    np.testing.assert_allclose(resample(values, new, JAX), wanted, atol=1e-5)


def test_the_rules_differ() -> None:
    found = [resample(grid((14, 14)), (10, 10), rule) for rule in (TIMM, TRANSFORMERS, TORCHVISION, DINO, JAX)]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(found) for b in found[:i])
