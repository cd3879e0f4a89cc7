"""Networks of vit-pytorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hwgen.importers import Overrides, load
from tests.importers.libraries import difference, refusal
from tests.importers.lucidrains_models import lucidrains
from tests.importers.timm_models import NORMALIZE

GIVEN = Overrides(heads=2, normalize=NORMALIZE, pooling="token")


def saved(state: dict[str, Any], folder: Path) -> Path:
    torch.save(state, folder / "vit.pt")
    return folder / "vit.pt"


def test_a_network(tmp_path: Path) -> None:
    model = lucidrains()
    imported = load(saved(model.state_dict(), tmp_path), overrides=GIVEN)
    assert (imported.source, imported.eps, imported.model.head_dim) == ("lucidrains", 1e-5, 24)
    assert difference(imported, model) < 1e-4


def test_what_it_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    assert refusal(saved(lucidrains().state_dict(), tmp_path)).endswith(
        "mend:     give `--pooling token` or `--pooling avg`, `--heads`, `--mean and --std`, "
        "or put the network's config.json beside it"
    )


def test_its_mean_takes_the_class_token_as_well(tmp_path: Path) -> None:
    text = refusal(saved(lucidrains().state_dict(), tmp_path), overrides=Overrides(pooling="avg"))
    assert "pooling\n  expected: a network without a mean over class and patch tokens" in text


@pytest.mark.parametrize("fn", ["fn.", ""])
def test_newer_versions_are_refused_by_the_norms_of_their_patches(tmp_path: Path, fn: str) -> None:
    """The names of 1.2.0 and 1.11.3."""
    state = {name.replace("fn.", fn): value for name, value in lucidrains().state_dict().items()}
    linear, bias = (state.pop(f"to_patch_embedding.1.{kind}") for kind in ("weight", "bias"))
    state |= {"to_patch_embedding.1.weight": torch.ones(192), "to_patch_embedding.1.bias": torch.zeros(192),
              "to_patch_embedding.2.weight": linear, "to_patch_embedding.2.bias": bias,
              "to_patch_embedding.3.weight": torch.ones(32), "to_patch_embedding.3.bias": torch.zeros(32)}  # fmt: skip
    text = refusal(saved(state, tmp_path), overrides=GIVEN)
    assert text.startswith(
        "DIR: to_patch_embedding.1.weight\n  expected: a network without a norm inside the patch embedding"
    )
