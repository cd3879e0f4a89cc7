"""torchvision's VisionTransformer against its own forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hwgen.importers import ImageSize, Overrides, load
from tests.importers.libraries import difference, refusal
from tests.importers.timm_models import randomize

import torchvision  # isort: skip

HEADS = Overrides(heads=4)


def network(**changes: Any) -> Any:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 64,
             "num_classes": 5}  # fmt: skip
    torch.manual_seed(0)
    return randomize(torchvision.models.VisionTransformer(**(sizes | changes)))


def saved(state: dict[str, Any], folder: Path) -> Path:
    torch.save(state, folder / "vit.pth")
    return folder / "vit.pth"


@pytest.mark.parametrize(
    ("kind", "width", "heads"), [("vit_b_16", 768, 12), ("vit_l_16", 1024, 16), ("vit_h_14", 1280, 16)]
)
def test_networks_of_known_width(tmp_path: Path, kind: str, width: int, heads: int) -> None:
    """Nothing is asked for; the heads are those of torchvision's own network of this width."""
    with torch.device("meta"):
        real = getattr(torchvision.models, kind)()
    assert (real.hidden_dim, real.encoder.layers[0].num_heads) == (width, heads)
    model = network(hidden_dim=width, num_heads=heads, num_layers=1)
    imported = load(saved(model.state_dict(), tmp_path))
    assert difference(imported, model) < 1e-4
    assert imported.warnings == [
        "normalize mean 0.485,0.456,0.406 std 0.229,0.224,0.225: ImageNet's, as of all weights of torchvision; "
        "else give --mean and --std"
    ]
    assert f"heads {heads}: as in torchvision's of this width; else give --heads" in imported.notes


def test_older_names(tmp_path: Path) -> None:
    """The MLP's before torchvision 0.13."""
    model = network()
    state = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for name, value in model.state_dict().items()
    }
    assert difference(load(saved(state, tmp_path), overrides=HEADS), model) < 1e-4


def test_another_image_size(tmp_path: Path) -> None:
    state = network().state_dict()
    path = saved(state, tmp_path)
    resampled = torchvision.models.vision_transformer.interpolate_embeddings(48, 8, dict(state))
    model = network(image_size=48)
    model.load_state_dict(resampled)
    imported = load(path, overrides=Overrides(heads=4, image_size=ImageSize(height=48, width=48)))
    assert difference(imported, model) < 1e-4
    assert "resampled to 6x6, as torchvision does (bicubic, corners aligned)" in "\n".join(imported.notes)


def test_other_widths_and_heads(tmp_path: Path) -> None:
    assert "mend:     give `--heads`, or put" in refusal(saved(network().state_dict(), tmp_path))
    text = refusal(saved(network(representation_size=16).state_dict(), tmp_path), overrides=HEADS)
    expected = "a network without a layer between the last norm and the head"
    assert text.startswith(f"DIR: heads.pre_logits.weight\n  expected: {expected}"), text
