"""Small networks of transformers with random weights, in folders as of the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.importers.libraries import timm  # noqa: F401  torchvision can be imported then
from tests.importers.timm_models import randomize

import transformers  # isort: skip

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
PREPROCESSOR = {"do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": MEAN,
                "image_std": STD, "size": {"height": 32, "width": 32}}  # fmt: skip
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
MLP = {"intermediate_size": 64}


def network(kind: str, config: str, seed: int = 0, **changes: Any) -> Any:
    """A network of this class with a config of that class."""
    sizes = SIZES | ({} if config.startswith("Dinov2") else MLP)
    torch.manual_seed(seed)
    made = getattr(transformers, kind)(getattr(transformers, config)(**(sizes | changes)))
    return randomize(made, seed)


def siglip(kind: str = "SiglipModel", seed: int = 0, **changes: Any) -> Any:
    """With both towers, or of another class with both in its config."""
    torch.manual_seed(seed)
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
            "vocab_size": 10, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    labels = changes.pop("num_labels", 5)
    config = transformers.SiglipConfig(vision_config=SIZES | MLP | changes, text_config=text, num_labels=labels)
    return randomize(getattr(transformers, kind)(config), seed)


def siglip_classifier(seed: int = 0, **changes: Any) -> Any:
    return siglip("SiglipForImageClassification", seed, **changes)


def saved(model: Any, folder: Path, preprocessor: dict[str, Any] | None = PREPROCESSOR, **options: Any) -> Path:
    """As `save_pretrained` does it, with what the processor of the images says."""
    model.save_pretrained(folder, **options)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder
